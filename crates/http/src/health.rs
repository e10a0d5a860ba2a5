//! Whether a role lives and whether it can do its work.

use crate::error::ApiError;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state behind `/livez` and `/readyz`. Cloning shares it.
///
/// A role is ready when every part that it named is, and it is not draining.
#[derive(Clone, Debug, Default)]
pub struct Health {
    state: Arc<RwLock<State>>,
}

#[derive(Debug, Default)]
struct State {
    parts: BTreeMap<&'static str, Option<String>>,
    draining: bool,
}

impl Health {
    /// A role without parts, which is ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names a part that is not ready yet, and gives the handle by which it says how it is.
    pub fn part(&self, name: &'static str) -> Part {
        self.state.write().parts.insert(name, Some("starting".to_owned()));
        Part { name, health: self.clone() }
    }

    /// Not ready from here on: the role is shutting down.
    pub fn drain(&self) {
        self.state.write().draining = true;
    }

    /// Nothing, or what is not ready and why.
    pub fn ready(&self) -> Result<(), String> {
        let state = self.state.read();
        let mut causes: Vec<String> = state
            .parts
            .iter()
            .filter_map(|(name, cause)| cause.as_ref().map(|cause| format!("{name}: {cause}")))
            .collect();
        if state.draining {
            causes.insert(0, "draining".to_owned());
        }
        if causes.is_empty() { Ok(()) } else { Err(causes.join("; ")) }
    }

    /// The answer of `/readyz`.
    pub fn readyz(&self) -> Result<&'static str, ApiError> {
        self.ready().map(|()| "ready").map_err(|cause| ApiError::unavailable(format!("not ready: {cause}")))
    }
}

/// A part of a role that says how it is.
#[derive(Clone, Debug)]
pub struct Part {
    name: &'static str,
    health: Health,
}

impl Part {
    /// The part works.
    pub fn ready(&self) {
        self.health.state.write().parts.insert(self.name, None);
    }

    /// The part does not work, and why.
    pub fn not_ready(&self, cause: impl Into<String>) {
        self.health.state.write().parts.insert(self.name, Some(cause.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_part_is() {
        let health = Health::new();
        assert_eq!(health.ready(), Ok(()));
        let beacon = health.part("beacon");
        let journal = health.part("journal");
        assert_eq!(health.ready(), Err("beacon: starting; journal: starting".to_owned()));
        beacon.ready();
        journal.ready();
        assert_eq!(health.readyz().unwrap(), "ready");
        beacon.not_ready("no answer");
        let error = health.readyz().unwrap_err();
        assert_eq!((error.status.as_u16(), error.message.as_str()), (503, "not ready: beacon: no answer"));
        beacon.ready();
        health.drain();
        assert_eq!(health.ready(), Err("draining".to_owned()));
    }
}
