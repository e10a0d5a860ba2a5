//! A registration as a file: what was registered, with the signatures that proofs need later. Nothing in it is secret.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use earnest_protocol::{
    registry::{RegistrationTree, SignedRegistration},
    signing::{EARNEST_SIGNING_ID, Network},
};
use serde::{Deserialize, Serialize};

/// The form of this file.
const VERSION: u32 = 1;

/// A registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The form of the file, 1.
    pub version: u32,
    /// The network that the consents are for.
    pub network: Network,
    /// The Registry.
    pub registry: Address,
    /// The operator's id.
    pub registration_root: B256,
    /// Its owner.
    pub owner: Address,
    /// The signing id of the consents.
    pub signing_id: B256,
    /// The keys with their consents, in the order of the tree.
    pub registrations: Vec<SignedRegistration>,
}

/// Why a registration's file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No JSON of this form.
    #[error("not a registration file: {0}")]
    Malformed(String),
    /// A form that is not known here.
    #[error("a registration file of version {0}, and only version 1 is known")]
    Version(u32),
    /// Its keys have another root.
    #[error("the keys do not have the root that the file names")]
    Root,
}

impl Record {
    /// The record of consents to `owner`, with the signing id `earnest.v1`; none if they make no tree.
    #[must_use]
    pub fn new(
        network: Network,
        registry: Address,
        owner: Address,
        registrations: Vec<SignedRegistration>,
    ) -> Option<Self> {
        let tree = RegistrationTree::of_signed(&registrations, owner).ok()??;
        let (registration_root, signing_id) = (tree.root(), EARNEST_SIGNING_ID);
        Some(Self {
            version: VERSION,
            network,
            registry,
            registration_root,
            owner,
            signing_id,
            registrations,
        })
    }

    /// Reads a file, and checks that its keys have the root that it names.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read(json: &[u8]) -> Result<Self, RecordError> {
        let record: Self =
            serde_json::from_slice(json).map_err(|error| RecordError::Malformed(error.to_string()))?;
        if record.version != VERSION {
            return Err(RecordError::Version(record.version));
        }
        match record.tree() {
            Some(tree) if tree.root() == record.registration_root => Ok(record),
            _ => Err(RecordError::Root),
        }
    }

    /// The tree, for calls and proofs; none if there is none.
    #[must_use]
    pub fn tree(&self) -> Option<Arc<RegistrationTree>> {
        let registrations =
            self.registrations.iter().map(SignedRegistration::to_sol).collect::<Result<_, _>>();
        RegistrationTree::new(registrations.ok()?, self.owner, self.signing_id).map(Arc::new)
    }

    /// What the file is called.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("registration-{}.json", self.registration_root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use earnest_builder_types::bls::SecretKey;

    const NETWORK: Network = Network { genesis_fork_version: [0x10, 0, 9, 0x10], chain_id: 560_048 };
    const OWNER: Address = Address::repeat_byte(0x11);

    fn record() -> Record {
        let keys = [1, 2, 3].map(|byte| SecretKey::from_bytes(&[byte; 32]).unwrap());
        let signed = keys.map(|key| SignedRegistration::sign(OWNER, &key, &NETWORK).unwrap());
        Record::new(NETWORK, Address::repeat_byte(5), OWNER, signed.to_vec()).unwrap()
    }

    #[test]
    fn a_file_is_read_back_and_names_its_root() {
        let record = record();
        let json = serde_json::to_vec_pretty(&record).unwrap();
        assert_eq!(Record::read(&json), Ok(record.clone()));
        assert!(record.file_name().contains(&record.registration_root.to_string()));
        assert!(Record::new(NETWORK, Address::ZERO, OWNER, Vec::new()).is_none());
    }

    #[test]
    fn what_was_changed_is_refused() {
        let read = |change: fn(&mut Record)| {
            let mut record = record();
            change(&mut record);
            Record::read(&serde_json::to_vec(&record).unwrap())
        };
        assert_eq!(read(|it| it.version = 2), Err(RecordError::Version(2)));
        assert_eq!(read(|it| it.owner = Address::ZERO), Err(RecordError::Root));
        assert_eq!(read(|it| it.registrations.truncate(2)), Err(RecordError::Root));
        assert_eq!(read(|it| it.registrations[0].nonce = 1), Err(RecordError::Root));
        assert_eq!(read(|it| it.registrations[0].pubkey.0[5] ^= 1), Err(RecordError::Root));
        assert!(matches!(Record::read(b"{}"), Err(RecordError::Malformed(_))));
        bolero::check!().with_iterations(500).for_each(|bytes: &[u8]| {
            let _ = Record::read(bytes);
        });
    }
}
