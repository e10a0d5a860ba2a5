//! `POST /constraints/v0/relay/blocks_with_proofs`: a block as `/relay/v1/builder/blocks` takes it, with the builder's own
//! proofs that it keeps the slot's constraints. JSON, as constraints-specs has it.
//!
//! The relay has the whole block and makes the proofs that proposers get by itself, so the builder's are checked and then of
//! no further use. A block that does not keep what is held now is refused, which tells its builder more than to be held.

use crate::{
    api::{
        builder_blocks::{self, Options, Sent, place},
        openapi::schemas,
        read, slot_in_json, stated_fork,
    },
    bids::BidKey,
    held::Required,
    relay::Relay,
};
use axum::extract::{Query, Request, State, rejection::QueryRejection};
use earnest_builder_types::{
    BidSubmission, ForkCodec, ForkName,
    proofs::{transactions_root, verify_transaction},
};
use earnest_client::inclusions;
use earnest_http::{ApiError, Media, content_type};
use earnest_protocol::{messages::ConstraintProofs, objects::InclusionProof};
use http::StatusCode;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, sync::Arc};

#[utoipa::path(
    post,
    path = "/constraints/v0/relay/blocks_with_proofs",
    tag = "constraints",
    params(("cancellations" = Option<String>, Query, description = "`1` or `true`: the bid may be replaced by one worth less")),
    request_body(content = serde_json::Value, description = "A submission of the relay API, with `proofs`: `{constraintTypes, payloads}`"),
    responses(
        (status = 200, description = "The block is taken"),
        (status = 400, description = "`bad_proof`, `constraints_not_kept`, `simulation_failed`, or what is wrong with the block", body = schemas::Problem),
        (status = 403, description = "`builder_not_allowed`, `builder_demoted`", body = schemas::Problem),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
        (status = 503, description = "`busy`, `simulation_busy`, `simulation_superseded`, `simulation_late`, `simulation_unavailable`, or as many bids are held as can be", body = schemas::Problem),
    ),
)]
pub(crate) async fn post(
    State(relay): State<Arc<Relay>>,
    options: Result<Query<Options>, QueryRejection>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let received_at_ms = relay.now_ms();
    let Query(options) = options.map_err(|error| ApiError::bad_request(error.body_text()))?;
    content_type(request.headers(), &[Media::Json])?;
    let stated = stated_fork(request.headers())?;
    let (_, body) = read(request, relay.body(relay.config.bounds.submission_bytes)).await?;
    let judge = Arc::clone(&relay);
    let decoding = move || {
        let (body, lease) = body.into_parts();
        let (submission, proofs) = decode(&body, |slot| stated.or_else(|| judge.fork_at(slot)))?;
        // Whose block it is comes first: what a slot must hold is not for everyone to ask.
        builder_blocks::check(&judge, &submission)?;
        let required = judge.required(&BidKey::of(submission.message()));
        check(&submission, &proofs, &required)?;
        Ok::<_, ApiError>(Sent { submission, ssz: None, lease })
    };
    let sent = relay.submitting.run(decoding).await??;
    place(relay, sent, options.cancels(), received_at_ms).await
}

/// Takes the proofs out of the body, and reads the rest as any submission.
fn decode(
    body: &[u8],
    fork_at: impl Fn(u64) -> Option<ForkName>,
) -> Result<(BidSubmission, Vec<InclusionProof>), ApiError> {
    let bad =
        |error: &dyn std::fmt::Display| ApiError::bad_request(format!("not a block with proofs: {error}"));
    let mut fields: BTreeMap<String, &RawValue> =
        serde_json::from_slice(body).map_err(|error| bad(&error))?;
    let proofs = fields.remove("proofs").ok_or_else(|| bad(&"no proofs"))?;
    let proofs: ConstraintProofs = serde_json::from_str(proofs.get()).map_err(|error| bad(&error))?;
    let proofs = inclusions(&proofs).map_err(|error| bad(&error))?;
    let slot = slot_in_json(body).map_err(|error| bad(&error))?;
    let fork = fork_at(slot).ok_or_else(|| bad(&"its slot is of no known fork"))?;
    let rest = serde_json::to_vec(&fields).map_err(|error| bad(&error))?;
    let submission = BidSubmission::from_json(fork, &rest).map_err(|error| bad(&error))?;
    Ok((submission, proofs))
}

/// Every proof leads to the block's transactions, and everything required is among what is proven.
fn check(
    submission: &BidSubmission,
    proofs: &[InclusionProof],
    required: &[Required],
) -> Result<(), ApiError> {
    let refused = |code, message| Err(ApiError::named(StatusCode::BAD_REQUEST, code, message));
    let transactions = submission.payload().transactions();
    let root = transactions_root(transactions);
    for (place, proof) in proofs.iter().enumerate() {
        if !verify_transaction(&proof.signed_tx, proof.index, &proof.branch, root) {
            return refused("bad_proof", format!("proof {place} does not lead to the block's transactions"));
        }
    }
    let proven: Vec<_> = proofs.iter().map(|proof| proof.signed_tx.clone()).collect();
    let missing = required.iter().find(|required| !required.is_among(&proven));
    if let Some(missing) = missing {
        let hash = alloy_primitives::keccak256(&missing.raw);
        return refused(
            "constraints_not_kept",
            format!("no proof of transaction {hash}, nor of its replacement"),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Block, damaged, tx};
    use serde_json::json;

    #[test]
    fn any_bytes_are_a_block_with_proofs_or_an_error() {
        let block = Block { transactions: vec![tx(1, 0, 1)], ..Block::default() }.submit(1);
        let mut good = serde_json::to_value(&block).unwrap();
        good["proofs"] = json!({"constraintTypes": [], "payloads": []});
        let good = good.to_string().into_bytes();
        let fork_at = |_| Some(ForkName::Electra);
        assert_eq!(decode(&good, fork_at).unwrap(), (block, vec![]));
        bolero::check!().with_iterations(500).with_type::<(Vec<u8>, Vec<(u16, u8)>, u16)>().for_each(
            |(bytes, changes, length)| {
                for body in [bytes.clone(), damaged(&good, changes, *length)] {
                    if let Ok((submission, proofs)) = decode(&body, fork_at) {
                        let _ = check(&submission, &proofs, &[]);
                    }
                }
            },
        );
    }
}
