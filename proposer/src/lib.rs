//! earnest-proposer
