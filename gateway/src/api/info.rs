//! `GET /ordering/v1/info`: who this gateway is and what it orders now.

use axum::{Json, extract::State};
use earnest_protocol::messages::{GatewayInfo, RollupInfo, WindowInfo};

use super::Api;

#[utoipa::path(
    get,
    path = "/ordering/v1/info",
    tag = "ordering",
    responses((status = 200, description = "Committer, relay, network, and each rollup with its open window", content_type = "application/json")),
)]
pub(super) async fn info(State(Api(state)): State<Api>) -> Json<GatewayInfo> {
    let rollups = state
        .board
        .rollups()
        .filter_map(|id| Some((id, *state.policies.get(&id)?)))
        .map(|(id, policy)| RollupInfo {
            id,
            policy,
            window: state.board.open_window(id).map(|open| WindowInfo {
                slot: open.slot,
                start_ms: open.start_ms,
                seal_ms: open.seal_ms,
            }),
        })
        .collect();
    Json(GatewayInfo {
        committer: state.committer,
        relay: state.relay_address,
        network: state.network,
        rollups,
    })
}
