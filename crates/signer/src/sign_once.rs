use crate::{BlsSigner, EcdsaSigner, SignerError, SigningRequest};
use alloy_primitives::{Address, B256, FixedBytes};
use earnest_builder_types::{BlsPublicKey, BlsSignature};
use earnest_journal::{AppendError, Batch, Claim, Log, ReadError};
use earnest_protocol::signing::EcdsaSignature;
use std::sync::Arc;

/// The value of a floor's claim, which says all by its key.
const FLOOR: B256 = B256::repeat_byte(0xff);
const BLS: u8 = 0;
const ECDSA: u8 = 1;

/// The place that a signature takes: for what, by whom, and where. A place is signed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimKey {
    /// What is signed, such as `delegation`. Holds no zero byte.
    pub purpose: String,
    /// Whose key signs.
    pub signer: SignerId,
    /// Which one, such as a slot in big-endian bytes, so that claims sort by it.
    pub place: Vec<u8>,
}

/// A key by its public name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignerId {
    /// A BLS public key.
    Bls(BlsPublicKey),
    /// The address of an ECDSA key.
    Ecdsa(Address),
}

impl SignerId {
    /// A key that is nobody's, of the same kind: its floor is that of all keys.
    #[must_use]
    pub const fn anyone(&self) -> Self {
        match self {
            Self::Bls(_) => Self::Bls(BlsPublicKey::ZERO),
            Self::Ecdsa(_) => Self::Ecdsa(Address::ZERO),
        }
    }
}

impl From<BlsPublicKey> for SignerId {
    fn from(key: BlsPublicKey) -> Self {
        Self::Bls(key)
    }
}

impl From<Address> for SignerId {
    fn from(address: Address) -> Self {
        Self::Ecdsa(address)
    }
}

fn floor_purpose(purpose: &str) -> String {
    format!("{purpose} floor")
}

impl ClaimKey {
    /// The place of a slot.
    #[must_use]
    pub fn slot(purpose: &str, signer: impl Into<SignerId>, slot: u64) -> Self {
        Self { purpose: purpose.to_owned(), signer: signer.into(), place: slot.to_be_bytes().to_vec() }
    }

    /// The prefix that all claims of a signer for a purpose share, for [`Log::claims`].
    #[must_use]
    pub fn prefix(purpose: &str, signer: impl Into<SignerId>) -> Vec<u8> {
        Self { purpose: purpose.to_owned(), signer: signer.into(), place: Vec::new() }.to_bytes()
    }

    /// The prefix that all claims for a purpose share, whoever signed.
    #[must_use]
    pub fn all_of(purpose: &str) -> Vec<u8> {
        [purpose.as_bytes(), &[0]].concat()
    }

    /// The prefix that all floors of a purpose share.
    #[must_use]
    pub fn floors(purpose: &str) -> Vec<u8> {
        Self::all_of(&floor_purpose(purpose))
    }

    /// The claim that raises a signer's floor to a slot: at or below it nothing is claimed that was not claimed before. The
    /// floor of [`SignerId::anyone`] is that of all. It is what stands for signatures that a record may have lost.
    #[must_use]
    pub fn floor(purpose: &str, signer: impl Into<SignerId>, slot: u64) -> Claim {
        let key = Self::slot(&floor_purpose(purpose), signer, slot);
        Claim { key: key.to_bytes(), value: FLOOR }
    }

    /// A signer's floor, the highest of all that were claimed.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn floor_of(
        log: &dyn Log,
        purpose: &str,
        signer: impl Into<SignerId>,
    ) -> Result<Option<u64>, ReadError> {
        let floors = log.claims(&Self::prefix(&floor_purpose(purpose), signer))?;
        let place = floors.last().and_then(|claim| Self::from_bytes(&claim.key)).map(|key| key.place);
        Ok(place.and_then(|place| place.try_into().ok()).map(u64::from_be_bytes))
    }

    /// Whether this place may be claimed for `root`: it holds it already, or it holds nothing and lies above the floor.
    ///
    /// # Errors
    /// [`SignerError::SignedBefore`], [`SignerError::BelowFloor`], or [`SignerError::Unreadable`].
    pub fn admit(&self, log: &dyn Log, root: B256) -> Result<(), SignerError> {
        match log.claimed(&self.to_bytes())? {
            Some(existing) if existing == root => return Ok(()),
            Some(existing) => return Err(SignerError::SignedBefore { existing }),
            None => {}
        }
        let Ok(slot) = <[u8; 8]>::try_from(self.place.as_slice()).map(u64::from_be_bytes) else {
            return Ok(());
        };
        let own = Self::floor_of(log, &self.purpose, self.signer)?;
        match own.max(Self::floor_of(log, &self.purpose, self.signer.anyone())?) {
            Some(floor) if slot <= floor => Err(SignerError::BelowFloor { floor }),
            Some(_) | None => Ok(()),
        }
    }

    /// The key in the journal.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (tag, id) = match &self.signer {
            SignerId::Bls(key) => (BLS, key.as_slice()),
            SignerId::Ecdsa(address) => (ECDSA, address.as_slice()),
        };
        [self.purpose.as_bytes(), &[0, tag], id, &self.place].concat()
    }

    /// Reads a key of the journal back. `None` if it is not one of this form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let (purpose, rest) = bytes.split_at_checked(end)?;
        let purpose = std::str::from_utf8(purpose).ok()?.to_owned();
        let (signer, place) = match rest.split_at_checked(2)? {
            ([0, BLS], rest) => {
                let (id, place) = rest.split_first_chunk::<48>()?;
                (SignerId::Bls(FixedBytes(*id)), place)
            }
            ([0, ECDSA], rest) => {
                let (id, place) = rest.split_first_chunk::<20>()?;
                (SignerId::Ecdsa(Address::new(*id)), place)
            }
            _ => return None,
        };
        Some(Self { purpose, signer, place: place.to_vec() })
    }
}

/// Puts a journal before a signer: a place is claimed durably for one root before that root is signed,
/// so that no crash or restart leads to a second, different signature.
#[derive(Clone, Debug)]
pub struct SignOnce<S> {
    signer: S,
    log: Arc<dyn Log>,
}

impl<S> SignOnce<S> {
    /// Signs with `signer` what `log` lets through.
    pub fn new(signer: S, log: Arc<dyn Log>) -> Self {
        Self { signer, log }
    }

    /// The signer behind.
    pub const fn signer(&self) -> &S {
        &self.signer
    }

    /// The log before it.
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// Claims a place for a root. On return it is durable; the same claim again is fine.
    async fn claim(&self, key: &ClaimKey, root: B256) -> Result<(), SignerError> {
        let (key, log) = (key.clone(), Arc::clone(&self.log));
        let claimed = tokio::task::spawn_blocking(move || {
            key.admit(&*log, root)?;
            match log.append_next(Batch::claim(key.to_bytes(), root)) {
                Ok(_) => Ok(()),
                Err(AppendError::Refused { existing, .. }) => Err(SignerError::SignedBefore { existing }),
                Err(error) => Err(SignerError::Journal(error)),
            }
        });
        claimed.await.map_err(|_| SignerError::Stopped)?
    }
}

impl<S: BlsSigner> SignOnce<S> {
    /// Signs for a place.
    ///
    /// # Errors
    /// [`SignerError::SignedBefore`] if it holds another root, [`SignerError::BelowFloor`] if it holds none and lies at or
    /// below the floor, [`SignerError::Journal`] if the claim is not durable; then nothing was signed.
    pub async fn sign_bls(
        &self,
        place: &ClaimKey,
        key: &BlsPublicKey,
        request: SigningRequest,
    ) -> Result<BlsSignature, SignerError> {
        self.claim(place, request.signing_root()).await?;
        self.signer.sign(key, request).await
    }
}

impl<S: EcdsaSigner> SignOnce<S> {
    /// Signs for a place.
    ///
    /// # Errors
    /// As [`Self::sign_bls`].
    pub async fn sign_ecdsa(
        &self,
        place: &ClaimKey,
        address: Address,
        request: SigningRequest,
    ) -> Result<EcdsaSignature, SignerError> {
        self.claim(place, request.signing_root()).await?;
        self.signer.sign(address, request).await
    }
}
