//! `GET /openapi.json`: our own routes, from the endpoints themselves, and where the specifications of the others are.

pub(super) mod schemas;

use axum::{Json, Router, routing::get};
use std::sync::Arc;
use utoipa::{
    OpenApi,
    openapi::{ExternalDocs, Info},
};

const DESCRIPTION: &str = "\
The routes that are Earnest's own, or whose specifications are not settled. The rest is as the field has it:

- `/eth/v1/builder`, `/eth/v2/builder`: the [Builder API](https://ethereum.github.io/builder-specs/), for proposers.
- `/relay/v1/builder/blocks`, `/relay/v1/builder/validators`: the [relay API](https://flashbots.github.io/relay-specs/), for builders.
- `/relay/v1/data`: the [data API](https://flashbots.github.io/relay-specs/#/Data) of the same specification.
- `/constraints/v0`: the [Constraints API](https://github.com/eth-fabric/constraints-specs), described here as this relay has it.

An error is `{code, message}`. `code` is a name where a program can act on it, else the HTTP status. Numbers are written as \
decimal strings, and read as those, as bare numbers or as 0x-hexadecimal strings.";

#[derive(OpenApi)]
#[openapi(
    components(schemas(schemas::Problem)),
    tags(
        (name = "ordering", description = "Who may order what, and when"),
        (name = "constraints", description = "Delegations, and what blocks must hold"),
        (name = "builders", description = "What builders see of the auction"),
    ),
)]
struct Base;

/// The document before any route.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Base::openapi();
    document.info = Info::new("Earnest relay", env!("CARGO_PKG_VERSION"));
    document.info.description = Some(DESCRIPTION.to_owned());
    let mut specs = ExternalDocs::new("https://flashbots.github.io/relay-specs/");
    specs.description = Some("The relay API, which the other routes are of".to_owned());
    document.external_docs = Some(specs);
    document
}

/// Serves a document.
pub(super) fn router<S: Clone + Send + Sync + 'static>(document: utoipa::openapi::OpenApi) -> Router<S> {
    let document = Arc::new(document);
    Router::new().route("/openapi.json", get(move || std::future::ready(Json(Arc::clone(&document)))))
}
