/** The file `config`: which repository this is. */
import { HoldfastError } from '@holdfast/protocol';
import { fieldsOf, fromJson, textOf, toJson } from './json.ts';

/** The decrypted config. */
export interface RepositoryConfig {
  readonly version: 1 | 2;
  /** 32 random bytes in hex: the identity of the repository wherever it lies. */
  readonly id: string;
  /** Irreducible polynomial of degree 53 in hex: restic's chunker; here a seed of ours. */
  readonly chunkerPolynomial: string;
}

/** Config to plaintext: JSON, uncompressed. */
export function encodeConfig(config: RepositoryConfig): Uint8Array {
  const { version, id, chunkerPolynomial } = config;
  return Buffer.from(toJson({ version, id, chunker_polynomial: chunkerPolynomial }));
}

/** The reverse; NEWER_FORMAT for a version beyond 2, CORRUPT when it is no config. */
export function decodeConfig(plaintext: Uint8Array): RepositoryConfig {
  const fields = fieldsOf(fromJson(plaintext, 'the config'), 'the config');
  const version = fields['version'];
  if (version !== 1 && version !== 2)
    throw new HoldfastError('NEWER_FORMAT', 'the repository is neither of version 1 nor 2', {
      detail: { version },
    });
  return {
    version,
    id: textOf(fields['id'], 'the repository id'),
    chunkerPolynomial: textOf(fields['chunker_polynomial'], 'the polynomial'),
  };
}
