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

/// Bad signatures that are looked for in a chunk by halving.
const SOUGHT: usize = 4;

/// Verifies signatures over signing roots, in parallel, and gives the indexes of those that do
/// not verify (malformed ones among them), ascending. Empty: all are good.
///
/// A chunk of 64 with more than a few bad ones is not searched to the end: what is left of it
/// counts as bad, so that a list made of bad ones costs little more than one of good ones.
pub fn verify_batch(signed: &[Signed]) -> Vec<usize> {
    let indexed: Vec<(usize, &Signed)> = signed.iter().enumerate().collect();
    let mut bad: Vec<usize> = indexed
        .par_chunks(CHUNK)
        .flat_map_iter(|chunk| {
            let mut bad = Vec::new();
            find_bad(chunk, &mut bad);
            bad
        })
        .collect();
    bad.sort_unstable();
    bad
}

/// Adds the bad ones of a part of a chunk, by halving until each is found; all of it once
/// enough were found.
fn find_bad(part: &[(usize, &Signed)], bad: &mut Vec<usize>) {
    match part {
        [] => {}
        _ if bad.len() >= SOUGHT => bad.extend(part.iter().map(|(index, _)| index)),
        [(index, (key, root, signature))] => {
            if verify(key, *root, signature).is_err() {
                bad.push(*index);
            }
        }
        _ if combination_holds(part) => {}
        _ => {
            let (left, right) = part.split_at(part.len().div_ceil(2));
            find_bad(left, bad);
            find_bad(right, bad);
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
