//! The event stream: resumed, bounded, and told apart from what is not one.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use earnest_client::{ClientError, GatewayClient};
use earnest_protocol::RollupId;
use earnest_protocol::messages::StreamEvent;
use earnest_protocol::objects::{Commitment, SignedCommitment};
use parking_lot::Mutex;

use crate::server::{limits, serve, soon};

/// What the server does at one connection after the other, and the `Last-Event-ID` of each.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<Vec<Answer>>>,
    seen: Arc<Mutex<Vec<Option<String>>>>,
}

enum Answer {
    Events(String),
    Status(u16),
}

async fn answer(State(script): State<Script>, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap().to_owned());
    script.seen.lock().push(last);
    let next = {
        let mut answers = script.answers.lock();
        if answers.is_empty() { None } else { Some(answers.remove(0)) }
    };
    match next {
        Some(Answer::Events(text)) => ([("content-type", "text/event-stream")], text).into_response(),
        Some(Answer::Status(code)) => {
            let body = format!(r#"{{"code":"code_{code}","message":"no"}}"#);
            (StatusCode::from_u16(code).unwrap(), body).into_response()
        }
        None => {
            let silence = futures::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
            ([("content-type", "text/event-stream")], Body::from_stream(silence)).into_response()
        }
    }
}

fn seal(number: u8) -> StreamEvent {
    let commitment = Commitment {
        commitment_type: 0x11,
        payload: vec![number].into(),
        request_hash: Default::default(),
        slasher: Default::default(),
    };
    StreamEvent::Seal(SignedCommitment::new(commitment, Default::default()))
}

fn sse(id: u8, event: &StreamEvent) -> String {
    format!("id: {id}\nevent: {}\ndata: {}\n\n", event.name(), event.data().unwrap())
}

async fn stream(answers: Vec<Answer>) -> (earnest_client::OrderStream, Script) {
    let script = Script { answers: Arc::new(Mutex::new(answers)), seen: Arc::default() };
    let url = serve(Router::new().fallback(answer).with_state(script.clone())).await;
    (GatewayClient::new(&url, limits()).unwrap().stream(RollupId(7), None), script)
}

#[tokio::test]
async fn it_resumes_after_the_last_event_whatever_broke() {
    let first = format!(": hello\n\n{}{}event: unknown\ndata: 1\n\n", sse(1, &seal(1)), sse(2, &seal(2)));
    let cut = format!("{}id: 9\nevent: seal\ndata: {{\"half", sse(3, &seal(3)));
    let answers = vec![
        Answer::Status(503),
        Answer::Events(first),
        Answer::Events(cut),
        Answer::Status(500),
        Answer::Events(sse(4, &seal(4))),
    ];
    let (mut stream, script) = stream(answers).await;
    for number in 1..=4 {
        let numbered = soon(stream.next()).await.unwrap();
        assert_eq!((numbered.id, numbered.event), (number.to_string(), seal(number)));
    }
    assert_eq!(stream.last_event_id(), Some("4"));
    let seen: Vec<_> = script.seen.lock().iter().map(|last| last.clone().unwrap_or_default()).collect();
    assert_eq!(seen, ["", "", "2", "3", "3"]);
}

#[tokio::test]
async fn what_waiting_cannot_heal_is_told() {
    let (mut unknown, _) = stream(vec![Answer::Status(404)]).await;
    let error = soon(unknown.next()).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, "code_404");

    let garbage = "id: 1\nevent: seal\ndata: {}\n\n".to_owned();
    let (mut garbled, _) = stream(vec![Answer::Events(garbage), Answer::Events(sse(1, &seal(1)))]).await;
    assert!(matches!(soon(garbled.next()).await, Err(ClientError::Malformed { .. })));
    assert_eq!(soon(garbled.next()).await.unwrap().event, seal(1), "the caller may go on");

    let huge = format!("data: {}\n\n", "x".repeat(65 << 20));
    let (mut flooded, _) = stream(vec![Answer::Events(huge)]).await;
    assert!(matches!(soon(flooded.next()).await, Err(ClientError::TooLarge { .. })));
}
