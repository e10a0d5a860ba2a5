//! Blobs that are valid without a trusted setup. Pure.

use alloy_primitives::FixedBytes;
use earnest_builder_types::{
    BLOB_BYTES, Blob, BlobsBundle, BlobsBundleDeneb, BlobsBundleElectra, BlobsBundleFulu, ForkName,
    KzgCommitment, KzgProof, bls::SecretKey,
};

/// Bytes of a field element.
const ELEMENT_BYTES: usize = 32;
/// Proofs of one blob from Fulu on (`CELLS_PER_EXT_BLOB` of the consensus specification).
const CELLS: usize = 128;

/// A blob that is one field element all over. Its polynomial is constant: the commitment is the element times
/// the generator, and every proof the point at infinity.
#[derive(Debug, Clone)]
pub struct ConstantBlob {
    element: [u8; ELEMENT_BYTES],
    commitment: KzgCommitment,
}

impl ConstantBlob {
    /// The blob of an element, given as the scalar of a BLS key: the public key is the commitment.
    #[must_use]
    pub fn new(element: &SecretKey) -> Self {
        Self { element: *element.to_bytes(), commitment: element.public_key() }
    }

    /// The commitment, whose versioned hash a blob transaction names.
    #[must_use]
    pub const fn commitment(&self) -> KzgCommitment {
        self.commitment
    }

    /// The bytes of the blob.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.element.repeat(BLOB_BYTES / ELEMENT_BYTES)
    }
}

/// More blobs than the types of a block hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more blobs than a block can have")]
pub(super) struct TooManyBlobs;

/// The bundle of a payload with these blobs; none in forks without.
pub(super) fn bundle(fork: ForkName, of: &[ConstantBlob]) -> Result<Option<BlobsBundle>, TooManyBlobs> {
    macro_rules! bundled {
        ($fork:ident, $bundle:ident, $proofs:expr) => {
            Some(BlobsBundle::$fork($bundle {
                commitments: list(of.iter().map(ConstantBlob::commitment))?,
                proofs: list(std::iter::repeat_n(infinity(), of.len().saturating_mul($proofs)))?,
                blobs: list(of.iter().filter_map(|blob| Blob::new(blob.bytes().into())))?,
            }))
        };
    }
    Ok(match fork {
        ForkName::Bellatrix | ForkName::Capella | ForkName::Gloas => None,
        ForkName::Deneb => bundled!(Deneb, BlobsBundleDeneb, 1),
        ForkName::Electra => bundled!(Electra, BlobsBundleElectra, 1),
        ForkName::Fulu => bundled!(Fulu, BlobsBundleFulu, CELLS),
    })
}

fn list<T, L: TryFrom<Vec<T>>>(items: impl Iterator<Item = T>) -> Result<L, TooManyBlobs> {
    items.collect::<Vec<T>>().try_into().map_err(|_| TooManyBlobs)
}

/// The point at infinity of G1, compressed.
const fn infinity() -> KzgProof {
    let mut point = [0; 48];
    point[0] = 0xc0;
    FixedBytes(point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    /// The commitment is the one that c-kzg computes of the bytes; it takes the proofs, too.
    #[test]
    fn the_commitment_is_that_of_the_bytes() {
        let blob = ConstantBlob::new(&SecretKey::from_bytes(&[5; 32]).unwrap());
        let expected = hex!(
            "a0d3ea109332aa3911781d3f6ab88750b1ea1322c1a4c503a4a855e610950eb9a3a11c1be648e914f74eae275d57f9b9"
        );
        assert_eq!(blob.commitment(), FixedBytes(expected));
        assert_eq!(blob.bytes(), [5; BLOB_BYTES]);
    }

    #[test]
    fn a_bundle_has_the_proofs_of_its_fork() {
        let blobs = [5, 6].map(|byte| ConstantBlob::new(&SecretKey::from_bytes(&[byte; 32]).unwrap()));
        assert_eq!(bundle(ForkName::Capella, &blobs), Ok(None));
        let Ok(Some(BlobsBundle::Deneb(deneb))) = bundle(ForkName::Deneb, &blobs) else { panic!() };
        assert_eq!((deneb.blobs.len(), deneb.commitments.len(), deneb.proofs.len()), (2, 2, 2));
        let Ok(Some(BlobsBundle::Fulu(fulu))) = bundle(ForkName::Fulu, &blobs) else { panic!() };
        assert_eq!((fulu.blobs.len(), fulu.commitments.len(), fulu.proofs.len()), (2, 2, 256));
        assert!(fulu.blobs.iter().flat_map(|blob| blob.bytes().chunks(32)).any(|element| element == [6; 32]));
        let many = vec![blobs[0].clone(); 4097];
        assert_eq!(bundle(ForkName::Electra, &many), Err(TooManyBlobs));
    }
}
