//! Anthropic's protocol for messages (docs.anthropic.com, "Messages", "Streaming").

use serde_json::{Value, json};

use crate::request::Request;

use super::http::{Gathered, error_message};

pub(super) const BASE_URL: &str = "https://api.anthropic.com";
pub(super) const PATH: &str = "/v1/messages";
pub(super) const VERSION: &str = "2023-06-01";
/// The protocol wants a limit.
const OUTPUT_TOKENS: u32 = 16_000;

pub(super) fn body(request: &Request, model: &str, output_tokens_max: Option<u32>) -> Value {
    json!({
        "model": model,
        "max_tokens": output_tokens_max.unwrap_or(OUTPUT_TOKENS),
        "stream": true,
        "system": request.instructions,
        "messages": [{"role": "user", "content": request.marked_data()}],
    })
}

pub(super) fn read_event(event: &Value, gathered: &mut Gathered) {
    match event["type"].as_str() {
        Some("message_start") => read_usage(&event["message"]["usage"], gathered),
        Some("content_block_delta") => {
            if let Some(text) = event["delta"]["text"].as_str() {
                gathered.text.push_str(text);
            }
        }
        Some("message_delta") => {
            read_reason(&event["delta"], gathered);
            read_usage(&event["usage"], gathered);
        }
        Some("message_stop") => gathered.is_done = true,
        Some("error") => {
            gathered.failure = Some(error_message(event).unwrap_or_else(|| "no reason given".to_owned()));
        }
        // The protocol asks to pass over what is not known.
        _ => {}
    }
}

pub(super) fn read_whole(answer: &Value, gathered: &mut Gathered) {
    if answer["type"] == "error" {
        gathered.failure = Some(error_message(answer).unwrap_or_else(|| "no reason given".to_owned()));
        return;
    }
    for text in answer["content"].as_array().into_iter().flatten().filter_map(|block| block["text"].as_str())
    {
        gathered.text.push_str(text);
    }
    read_reason(answer, gathered);
    read_usage(&answer["usage"], gathered);
    gathered.is_done = true;
}

fn read_reason(holder: &Value, gathered: &mut Gathered) {
    match holder["stop_reason"].as_str() {
        None | Some("end_turn" | "stop_sequence") => {}
        Some("max_tokens") => gathered.is_cut = true,
        Some(other) => gathered.remark = Some(format!("the model stopped because of {other}")),
    }
}

fn read_usage(usage: &Value, gathered: &mut Gathered) {
    let tokens = |name: &str| usage[name].as_u64();
    gathered.input_tokens = tokens("input_tokens").unwrap_or(gathered.input_tokens);
    gathered.output_tokens = tokens("output_tokens").unwrap_or(gathered.output_tokens);
}
