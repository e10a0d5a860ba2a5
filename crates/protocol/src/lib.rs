//! earnest-protocol
