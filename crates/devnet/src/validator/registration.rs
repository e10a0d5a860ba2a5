//! Registrations, each epoch.

use std::sync::Arc;

use earnest_builder_types::{SignedValidatorRegistration, ValidatorRegistration};
use earnest_client::ClientError;
use serde_json::json;

use super::{Report, Shared, now_ms};

/// Registers now and at the start of each epoch; what fails is tried again the next slot.
pub(super) async fn run(shared: Arc<Shared>) {
    let registrations = registrations(&shared);
    let mut done = None;
    loop {
        let clock = shared.clock;
        let slot = clock.slot_at(now_ms()).unwrap_or(0);
        let epoch = clock.epoch_of(slot);
        if done != Some(epoch) {
            prepare_proposers(&shared).await;
            match register(&shared, &registrations).await {
                Ok(()) => {
                    done = Some(epoch);
                    shared.report(Report::Registered { epoch, validators: registrations.len() });
                }
                Err(error) => {
                    tracing::warn!(epoch, %error, "the builder endpoint did not take the registrations");
                    shared.report(Report::NotRegistered { epoch, reason: error.to_string() });
                }
            }
        }
        shared.sleep_until(clock.start_of(clock.next_slot(now_ms().saturating_add(1)))).await;
    }
}

/// Signed once: an unchanged registration keeps its timestamp.
fn registrations(shared: &Shared) -> Vec<SignedValidatorRegistration> {
    let domain = shared.builder_domain();
    let timestamp = now_ms() / 1000;
    let keys = shared.indices.values();
    keys.map(|key| {
        let registration = ValidatorRegistration {
            fee_recipient: shared.options.fee_recipient,
            gas_limit: shared.options.gas_limit,
            timestamp,
            pubkey: key.public_key(),
        };
        registration.sign(key, domain)
    })
    .collect()
}

async fn register(shared: &Shared, registrations: &[SignedValidatorRegistration]) -> Result<(), ClientError> {
    match &shared.builder {
        Some(builder) => builder.register(registrations).await,
        None => Ok(()),
    }
}

async fn prepare_proposers(shared: &Shared) {
    let recipient = shared.options.local_fee_recipient;
    let body: Vec<_> = shared
        .indices
        .keys()
        .map(|index| json!({"validator_index": index.to_string(), "fee_recipient": recipient}))
        .collect();
    let path = "eth/v1/validator/prepare_beacon_proposer";
    let answer = shared.beacon_http.post_json(path, &body).await.and_then(earnest_client::Answer::ok);
    if let Err(error) = answer {
        tracing::warn!(%error, "the beacon node does not know where local fees go");
    }
}
