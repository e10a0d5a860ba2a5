//! earnest-relay
