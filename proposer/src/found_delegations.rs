//! What an Earnest relay has of delegations that a key of ours signed.

use std::time::Duration;

use earnest_client::ClientError;
use earnest_protocol::objects::SignedDelegation;
use earnest_protocol::signing::Network;

use crate::delegation_plan::Place;
use crate::sources::Source;

/// Limit for one question.
const TIME: Duration = Duration::from_secs(2);
/// Delegations of one place that are looked at: an honest relay has one.
const MAX_LOOKED_AT: usize = 16;

/// Asks a relay for the delegations of a place, those with a good signature.
///
/// # Errors
/// Any [`ClientError`] but 404: a relay that does not know the slot has none.
pub async fn ask(
    source: &Source,
    place: Place,
    network: Network,
) -> Result<Vec<SignedDelegation>, ClientError> {
    let answer = match source.brief.delegations_answer(place.0.0, TIME).await {
        Ok(answer) => answer,
        Err(error) if error.refusal().is_some_and(|refusal| refusal.status == 404) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let read = tokio::task::spawn_blocking(move || {
        let all: Vec<SignedDelegation> = answer.json("delegations")?;
        Ok(of(all, place, &network))
    });
    read.await.unwrap_or_else(|_| Err(ClientError::Setup("the runtime is shutting down".to_owned())))
}

/// Those of a place, with a good signature: a relay can show whatever it likes.
#[must_use]
pub fn of(all: Vec<SignedDelegation>, place: Place, network: &Network) -> Vec<SignedDelegation> {
    all.into_iter()
        .filter(|one| (one.message.slot, one.message.proposer) == place)
        .take(MAX_LOOKED_AT)
        .filter(|one| one.verify(network, &place.1).is_ok())
        .collect()
}
