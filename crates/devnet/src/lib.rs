//! earnest-devnet
