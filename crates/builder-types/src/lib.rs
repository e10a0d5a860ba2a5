//! earnest-builder-types
