//! A server of models that does what its script says: one deed for each connection, the last one for all further ones.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What the server does with a connection.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// Streams this answer as OpenAI does, in small pieces.
    StreamOpenAi(String),
    /// Streams this answer as Anthropic does, in small pieces.
    StreamAnthropic(String),
    /// Streams this much of an answer as Anthropic does, and then stops because of its limit.
    StreamCutAtLimit(String),
    /// Answers as OpenAI does when it does not stream.
    WholeOpenAi(String),
    /// Answers as Anthropic does when it does not stream.
    WholeAnthropic(String),
    /// Begins to stream as Anthropic does and then says nothing more.
    Stall(String),
    /// Takes the request and says nothing at all.
    Silence,
    /// Begins to stream as Anthropic does and cuts the connection.
    Cut(String),
    /// Begins to stream as Anthropic does and reports a failure.
    FailWithin(String),
    /// Answers with a status, these header lines, and a body.
    Status(u16, &'static str, String),
}

/// A request that was received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Value,
}

pub(crate) struct ModelServer {
    address: std::net::SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl ModelServer {
    pub(crate) fn start(script: Vec<Deed>) -> ModelServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = ModelServer { address: listener.local_addr().unwrap(), received: Arc::default() };
        let received = server.received.clone();
        std::thread::spawn(move || {
            for (index, stream) in listener.incoming().flatten().enumerate() {
                let deed = script[index.min(script.len() - 1)].clone();
                let received = received.clone();
                std::thread::spawn(move || {
                    // The client may leave at any time, which is for the client to be tested for.
                    let _ = serve(stream, &deed, &received);
                });
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, deed: &Deed, received: &Mutex<Vec<Received>>) -> std::io::Result<()> {
    received.lock().unwrap().push(read_request(&mut stream)?);
    let stream_head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let begin = |stream: &mut TcpStream, text: &str| {
        stream.write_all(stream_head.as_bytes())?;
        anthropic_events(stream, text)
    };
    match deed {
        Deed::StreamOpenAi(text) => {
            stream.write_all(stream_head.as_bytes())?;
            for piece in pieces(text) {
                let data =
                    json!({"choices": [{"delta": {"content": piece}, "finish_reason": null}], "usage": null});
                event(&mut stream, None, &data)?;
            }
            event(&mut stream, None, &json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}))?;
            let usage = json!({"prompt_tokens": 1000, "completion_tokens": 200});
            event(&mut stream, None, &json!({"choices": [], "usage": usage}))?;
            stream.write_all(b"data: [DONE]\n\n")
        }
        Deed::StreamAnthropic(text) => {
            begin(&mut stream, text)?;
            anthropic_end(&mut stream, "end_turn")
        }
        Deed::StreamCutAtLimit(text) => {
            begin(&mut stream, text)?;
            anthropic_end(&mut stream, "max_tokens")
        }
        Deed::WholeOpenAi(text) => {
            let body = json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 2}});
            status(&mut stream, 200, "content-type: application/json\r\n", &body.to_string())
        }
        Deed::WholeAnthropic(text) => {
            let body = json!({"type": "message", "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn", "usage": {"input_tokens": 10, "output_tokens": 2}});
            status(&mut stream, 200, "content-type: application/json\r\n", &body.to_string())
        }
        Deed::Stall(text) => {
            begin(&mut stream, text)?;
            wait_for_the_client_to_leave(&mut stream)
        }
        Deed::Silence => wait_for_the_client_to_leave(&mut stream),
        Deed::Cut(text) => begin(&mut stream, text),
        Deed::FailWithin(text) => {
            begin(&mut stream, text)?;
            let error =
                json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
            event(&mut stream, Some("error"), &error)
        }
        Deed::Status(code, headers, body) => status(&mut stream, *code, headers, body),
    }
}

fn read_request(stream: &mut TcpStream) -> std::io::Result<Received> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..count]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length.unwrap_or(0) {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        body.extend_from_slice(&chunk[..count]);
    }
    Ok(Received { head, body: serde_json::from_slice(&body).unwrap_or_default() })
}

/// Cuts a text where no server would: within words and lines.
fn pieces(text: &str) -> Vec<String> {
    text.chars().collect::<Vec<_>>().chunks(37).map(|piece| piece.iter().collect()).collect()
}

fn anthropic_events(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    let start =
        json!({"type": "message_start", "message": {"usage": {"input_tokens": 1000, "output_tokens": 1}}});
    event(stream, Some("message_start"), &start)?;
    event(stream, Some("ping"), &json!({"type": "ping"}))?;
    for piece in pieces(text) {
        let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}});
        event(stream, Some("content_block_delta"), &delta)?;
    }
    Ok(())
}

fn anthropic_end(stream: &mut TcpStream, reason: &str) -> std::io::Result<()> {
    let delta =
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 200}});
    event(stream, Some("message_delta"), &delta)?;
    event(stream, Some("message_stop"), &json!({"type": "message_stop"}))
}

fn event(stream: &mut TcpStream, name: Option<&str>, data: &Value) -> std::io::Result<()> {
    let name = name.map(|name| format!("event: {name}\n")).unwrap_or_default();
    stream.write_all(format!("{name}data: {data}\n\n").as_bytes())
}

fn status(stream: &mut TcpStream, code: u16, headers: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {code} Said\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

fn wait_for_the_client_to_leave(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let _ = stream.read(&mut [0; 16])?;
    Ok(())
}
