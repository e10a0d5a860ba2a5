//! earnest-journal
