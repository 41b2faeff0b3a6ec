import { describe, expect, it } from 'vitest';
import { azureAccount } from './azure-account.ts';

const KEY = 'a2V5';
const named = { AZURE_ACCOUNT_NAME: 'account1', AZURE_ACCOUNT_KEY: KEY };

describe('an account of Azure', () => {
  it('is named by the environment as restic has it named', () => {
    const endpoint = 'https://account1.blob.core.windows.net';
    expect(azureAccount(named)).toEqual({ name: 'account1', key: KEY, endpoint });
    expect(
      azureAccount({ ...named, AZURE_ENDPOINT_SUFFIX: 'core.chinacloudapi.cn' }),
    ).toMatchObject({ endpoint: 'https://account1.blob.core.chinacloudapi.cn' });
    const sas = { AZURE_ACCOUNT_NAME: 'account1', AZURE_ACCOUNT_SAS: '?sv=1&sig=x%3D' };
    expect(azureAccount(sas)).toEqual({ name: 'account1', sas: 'sv=1&sig=x%3D', endpoint });
  });

  it('is named by a connection string', () => {
    const of = (text: string) => azureAccount({ AZURE_STORAGE_CONNECTION_STRING: text });
    expect(
      of(`DefaultEndpointsProtocol=http;AccountName=a1b;AccountKey=${KEY}==;EndpointSuffix=x.y`),
    ).toEqual({ name: 'a1b', key: `${KEY}==`, endpoint: 'http://a1b.blob.x.y' });
    const emulator = 'http://127.0.0.1:10000/devstoreaccount1';
    expect(of(`BlobEndpoint=${emulator};SharedAccessSignature=sv=1&sig=x`)).toEqual({
      name: 'devstoreaccount1',
      endpoint: emulator,
      sas: 'sv=1&sig=x',
    });
  });

  it('is at the endpoint that is given', () => {
    expect(azureAccount(named, 'https://proxy.example/account1').endpoint).toBe(
      'https://proxy.example/account1',
    );
  });

  it.each([
    [{}, /set AZURE_ACCOUNT_NAME and AZURE_ACCOUNT_KEY/],
    [{ AZURE_ACCOUNT_NAME: 'account1' }, /nothing opens the account account1/],
    [{ ...named, AZURE_ACCOUNT_NAME: 'No_Account' }, /cannot be an account/],
    [{ ...named, AZURE_ACCOUNT_KEY: 'not base64!' }, /base64/],
    [{ AZURE_ACCOUNT_NAME: 'account1', AZURE_ACCOUNT_SAS: 'sv=1' }, /no sig=/],
    [{ AZURE_STORAGE_CONNECTION_STRING: 'UseDevelopmentStorage=true' }, /cannot be an account/],
  ])('is asked for where it is missing or odd: %j', (env, text) => {
    expect(() => azureAccount(env)).toThrow(text);
  });
});
