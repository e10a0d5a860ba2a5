//! The relay's OpenAPI document, and answers held against it.

use super::World;
use serde_json::{Value, json};

/// An OpenAPI document, and whether answers are as it says.
pub(crate) struct Document(pub(crate) Value);

impl Document {
    /// The relay's own.
    pub(crate) async fn of(world: &World) -> Self {
        let (status, document) = world.get("/openapi.json").await;
        assert_eq!(status, 200);
        Self(document)
    }

    /// Asks, and holds the answer against the document.
    pub(crate) async fn get(&self, world: &World, route: &str, parameters: &[&str], status: u16) -> Value {
        let mut path = route.to_owned();
        for parameter in parameters {
            let (before, rest) = path.split_once('{').unwrap();
            path = format!("{before}{parameter}{}", rest.split_once('}').unwrap().1);
        }
        self.judge(route, "get", status, world.get(&path).await)
    }

    /// The same with a body, which must be as the document says if it is to be taken.
    pub(crate) async fn post(&self, world: &World, route: &str, body: &Value, status: u16) -> Value {
        let schema = &self.0["paths"][route]["post"]["requestBody"]["content"]["application/json"]["schema"];
        if status == 200 {
            assert!(self.fits(schema, body), "{route} takes what its schema does not: {body}");
        }
        self.judge(route, "post", status, world.post(route, body).await)
    }

    fn judge(&self, route: &str, method: &str, status: u16, answer: (u16, Value)) -> Value {
        assert_eq!(answer.0, status, "{method} {route}: {}", answer.1);
        let responses = &self.0["paths"][route][method]["responses"];
        let schema = &responses[status.to_string()]["content"]["application/json"]["schema"];
        assert!(!schema.is_null(), "{method} {route} does not name {status}: {responses}");
        assert!(self.fits(schema, &answer.1), "{method} {route} {status}: {} is not {schema}", answer.1);
        answer.1
    }

    /// Whether a value is what a schema says, of what this document uses. Objects have no other members.
    fn fits(&self, schema: &Value, value: &Value) -> bool {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap();
            let schema = &self.0["components"]["schemas"][name];
            assert!(schema.is_object(), "no schema {name}");
            return self.fits(schema, value);
        }
        if let Some(some) = schema["oneOf"].as_array() {
            return some.iter().any(|schema| self.fits(schema, value));
        }
        if let Some(allowed) = schema["enum"].as_array() {
            return allowed.contains(value);
        }
        let is = |kind: &str| match &schema["type"] {
            Value::Array(kinds) => kinds.contains(&json!(kind)),
            one => one == kind,
        };
        match value {
            Value::Null => is("null"),
            Value::Bool(_) => is("boolean"),
            Value::Number(_) => is("integer"),
            Value::String(text) => is("string") && matches(schema["pattern"].as_str(), text),
            Value::Array(items) => is("array") && items.iter().all(|item| self.fits(&schema["items"], item)),
            Value::Object(members) => {
                let Some(properties) = schema["properties"].as_object() else { return is("object") };
                let required = schema["required"].as_array().cloned().unwrap_or_default();
                required.iter().all(|name| members.contains_key(name.as_str().unwrap()))
                    && members.iter().all(|(name, value)| {
                        properties.get(name).is_some_and(|schema| self.fits(schema, value))
                    })
            }
        }
    }
}

/// The few patterns of the document.
fn matches(pattern: Option<&str>, text: &str) -> bool {
    let Some(pattern) = pattern else { return true };
    if pattern == "^[0-9]+$" {
        return !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    }
    let Some(digits) = text.strip_prefix("0x") else { return false };
    let lower = pattern.contains("A-F") || digits.bytes().all(|byte| !byte.is_ascii_uppercase());
    let length = pattern.split_once(']').unwrap().1.trim_start_matches('{').split('}').next().unwrap();
    let fits = match length.parse::<usize>() {
        Ok(2) => digits.len() % 2 == 0,
        Ok(length) => digits.len() == length,
        Err(_) => panic!("{pattern}"),
    };
    lower && fits && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}
