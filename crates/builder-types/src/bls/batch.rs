//! Many signatures at once, by a random linear combination spread over all cores.

use alloy_primitives::B256;
use blst::{BLST_ERROR, Pairing, blst_p1_affine, blst_p2_affine};
use rand::TryRngCore as _;
use rayon::prelude::*;

use super::{BlsSignature, DST, point_of_key, point_of_signature, verify};
use crate::BlsPublicKey;

/// Signatures per pairing product: enough to spread the final exponentiation thin, few enough to
/// keep all cores busy and to find a bad one soon.
const CHUNK: usize = 64;

/// Width of the random factors in bits: a forged combination passes with probability 2⁻⁶⁴.
const FACTOR_BITS: usize = 64;

type Signed = (BlsPublicKey, B256, BlsSignature);

/// Verifies signatures over signing roots, in parallel, and gives the indexes of those that do
/// not verify (malformed ones among them), ascending. Empty: all are good.
pub fn verify_batch(signed: &[Signed]) -> Vec<usize> {
    let indexed: Vec<(usize, &Signed)> = signed.iter().enumerate().collect();
    let mut bad: Vec<usize> = indexed.par_chunks(CHUNK).flat_map_iter(bad_of).collect();
    bad.sort_unstable();
    bad
}

/// The bad ones of a chunk, by halving until each is found.
fn bad_of(chunk: &[(usize, &Signed)]) -> Vec<usize> {
    match chunk {
        [] => Vec::new(),
        [(index, (key, root, signature))] => match verify(key, *root, signature) {
            Ok(()) => Vec::new(),
            Err(_) => vec![*index],
        },
        _ if combination_holds(chunk) => Vec::new(),
        _ => {
            let (left, right) = chunk.split_at(chunk.len().div_ceil(2));
            let mut bad = bad_of(left);
            bad.extend(bad_of(right));
            bad
        }
    }
}

fn combination_holds(chunk: &[(usize, &Signed)]) -> bool {
    let mut pairing = Pairing::new(true, DST);
    for (_, (key, root, signature)) in chunk {
        let (Ok(key), Ok(signature)) = (point_of_key(key), point_of_signature(signature)) else {
            return false;
        };
        let Some(factor) = random_factor() else { return false };
        let key = blst_p1_affine::from(key);
        let signature = blst_p2_affine::from(signature);
        let added = pairing.mul_n_aggregate(
            &key,
            false,
            &signature,
            false,
            &factor,
            FACTOR_BITS,
            root.as_slice(),
            &[],
        );
        if added != BLST_ERROR::BLST_SUCCESS {
            return false;
        }
    }
    pairing.commit();
    pairing.finalverify(None)
}

/// A factor that is not zero. `None` only if the system has no randomness, in which case every
/// signature is verified by itself.
fn random_factor() -> Option<[u8; 8]> {
    let mut factor = [0_u8; 8];
    while factor == [0; 8] {
        rand::rngs::OsRng.try_fill_bytes(&mut factor).ok()?;
    }
    Some(factor)
}
