//! A network of stock peers on loopback: geth, and Prysm's beacon node and validator client, from the Fulu fork on. They
//! propose blocks that `earnest relay` serves, offered by the devnet's builder. In one network nothing else of ours is
//! between; in another `earnest proposer` is, with mev-boost and another relay beside ours.
//!
//! | part | what it is |
//! |---|---|
//! | [`genesis`] | the chain's configuration and first states |
//! | [`geth`], [`peers`] | geth, beacon node and validator client as processes |
//! | [`builder`] | the devnet's builder over a geth of its own |
//! | [`relay`] | `earnest relay` as an operator runs it, killed and started again on the same folder |
//! | [`gate`] | stands before the beacon node's API where its events are to be cut |
//! | [`traffic`] | transactions, so that payloads are worth something |
//! | [`proposer`] | one validator that no validator client runs, for faults between header and payload |
//! | [`gateway`] | delegations and constraints, signed with the validators' well-known keys |
//! | [`earnest_gateway`], [`searchers`] | `earnest gateway` as a process, its rollups, and who uses it |
//! | [`gossip`] | brings what is sent to one client's pool to the others' |
//! | [`ledger`] | what became of each slot, as the beacon node and the relay tell it |
//! | [`sidecar`], [`mev_boost`] | `earnest proposer` and mev-boost as processes |
//! | [`wire`] | stands between two programs, and can be harmed |
//! | [`contracts`] | the Registry and what belongs to it, on this L1 |
//! | [`operators`], [`rival`] | whose validators there are, and a bidder beside the sidecar |
//! | [`front`] | all that stands between the beacon node and the relays |
//! | [`network`] | all of it together |
//! | [`run`], [`faults`] | what is done, slot by slot, and what must hold |
//! | [`course`], [`tally`], [`audit`] | the same behind the sidecar, fault by fault, and what it comes to |
//!
//! `tests/peers/ethereum/README.md` says which versions, how they are built, and what is peculiar about them.

pub mod audit;
pub mod builder;
pub mod contracts;
pub mod course;
pub mod earnest_gateway;
pub mod faults;
pub mod front;
pub mod gate;
pub mod gateway;
pub mod genesis;
pub mod geth;
pub mod gossip;
pub mod ledger;
pub mod mev_boost;
pub mod network;
pub mod operators;
pub mod peers;
pub mod proposer;
pub mod relay;
pub mod rival;
pub mod run;
pub mod searchers;
pub mod settings;
pub mod sidecar;
pub mod tally;
pub mod traffic;
pub mod wire;

fn loopback(port: u16) -> url::Url {
    url::Url::parse(&format!("http://127.0.0.1:{port}")).unwrap()
}

/// An HTTP client. Nothing here is over TLS, but it must be told whose cryptography that would use.
fn http_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}
