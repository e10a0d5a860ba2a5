//! earnest-bindings
