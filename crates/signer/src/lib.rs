//! earnest-signer
