//! earnest-http
