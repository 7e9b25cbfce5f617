//! OpenAI's protocol for chats, which most servers of models speak (platform.openai.com, "Chat Completions").

use serde_json::{Value, json};

use crate::request::Request;

use super::http::{Gathered, error_message};

pub(super) const BASE_URL: &str = "https://api.openai.com/v1";
pub(super) const PATH: &str = "/chat/completions";

pub(super) fn body(request: &Request, model: &str, output_tokens_max: Option<u32>) -> Value {
    let mut body = json!({
        "model": model,
        "stream": true,
        "stream_options": {"include_usage": true},
        "messages": [
            {"role": "system", "content": request.instructions},
            {"role": "user", "content": request.marked_data()},
        ],
    });
    if let Some(tokens) = output_tokens_max {
        body["max_tokens"] = tokens.into();
    }
    body
}

pub(super) fn read_event(event: &Value, gathered: &mut Gathered) {
    if let Some(message) = error_message(event).filter(|_| !event["error"].is_null()) {
        gathered.failure = Some(message);
        return;
    }
    let choice = &event["choices"][0];
    if let Some(text) = choice["delta"]["content"].as_str() {
        gathered.text.push_str(text);
    }
    read_end(choice, event, gathered);
}

pub(super) fn read_whole(answer: &Value, gathered: &mut Gathered) {
    if let Some(message) = error_message(answer).filter(|_| !answer["error"].is_null()) {
        gathered.failure = Some(message);
        return;
    }
    let choice = &answer["choices"][0];
    if let Some(text) = choice["message"]["content"].as_str() {
        gathered.text.push_str(text);
    }
    read_end(choice, answer, gathered);
}

fn read_end(choice: &Value, event: &Value, gathered: &mut Gathered) {
    if let Some(reason) = choice["finish_reason"].as_str() {
        gathered.is_done = true;
        match reason {
            "stop" => {}
            "length" => gathered.is_cut = true,
            other => gathered.remark = Some(format!("the model stopped because of {other}")),
        }
    }
    let tokens = |name: &str| event["usage"][name].as_u64();
    gathered.input_tokens = tokens("prompt_tokens").unwrap_or(gathered.input_tokens);
    gathered.output_tokens = tokens("completion_tokens").unwrap_or(gathered.output_tokens);
}
