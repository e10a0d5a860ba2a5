//! A JSON-RPC endpoint that answers as it is told.

use axum::{Json, Router, routing::post};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;
use url::Url;

type Rule = Box<dyn Fn(&str, &Value) -> Result<Value, (i64, String)> + Send + Sync>;

/// The endpoint, and the calls that it was asked.
pub(crate) struct Rpc {
    pub(crate) url: Url,
    pub(crate) calls: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Rpc {
    /// Answers each call by `rule`, which is given method and parameters; an error becomes an error object.
    pub(crate) async fn start(
        rule: impl Fn(&str, &Value) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        Self::start_coded(move |method, params| rule(method, params).map_err(|error| (-32000, error))).await
    }

    /// The same with the codes of errors.
    pub(crate) async fn start_coded(
        rule: impl Fn(&str, &Value) -> Result<Value, (i64, String)> + Send + Sync + 'static,
    ) -> Self {
        let rule: Arc<Rule> = Arc::new(Box::new(rule));
        let calls: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let asked = Arc::clone(&calls);
        let answer = move |Json(body): Json<Value>| {
            let (rule, asked) = (Arc::clone(&rule), Arc::clone(&asked));
            async move {
                let one = |call: &Value| {
                    let method = call["method"].as_str().unwrap_or_default().to_owned();
                    let answer = rule(&method, &call["params"]);
                    asked.lock().push((method, call["params"].clone()));
                    match answer {
                        Ok(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
                        Err((code, message)) => {
                            json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": code, "message": message}})
                        }
                    }
                };
                Json(match &body {
                    Value::Array(calls) => calls.iter().map(one).collect(),
                    call => one(call),
                })
            }
        };
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let router = Router::new().route("/", post(answer)).layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, calls }
    }
}
