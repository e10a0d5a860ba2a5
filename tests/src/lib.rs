//! earnest-tests
