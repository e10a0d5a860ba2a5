//! earnest-gateway
