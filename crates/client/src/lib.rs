//! earnest-client
