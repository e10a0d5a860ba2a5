//! earnest-chain
