//! Both protocols against a server that streams, stalls, refuses and cuts.

use std::time::{Duration, Instant};

use pika_tutorial::{
    End, ExplainOptions, Explained, PlanLimits, Provider, ProviderKind, ProviderSettings, Purpose, StepState,
    explain,
};

use crate::model_server::{Deed, ModelServer};
use crate::sample::{answer, change, good_answer, ids, options, step};

fn settings(server: &ModelServer, kind: ProviderKind) -> ProviderSettings {
    ProviderSettings {
        provider: kind,
        base_url: Some(server.url()),
        model: Some("a-model".to_owned()),
        idle_s: Some(1),
        ..ProviderSettings::default()
    }
}

async fn play(kind: ProviderKind, script: Vec<Deed>, options: &ExplainOptions) -> (Explained, ModelServer) {
    let server = ModelServer::start(script);
    let provider = Provider::new(&settings(&server, kind)).unwrap();
    (explain(&change(), &provider, options).await, server)
}

#[track_caller]
fn is_whole(explained: &Explained) {
    assert_eq!(explained.end, End::Written, "{:?}", explained.calls);
    assert_eq!(explained.tutorial.count(StepState::Verified), 3);
    assert_eq!(explained.tutorial.coverage.unexplained, []);
}

#[track_caller]
fn fell_back(explained: &Explained, why: &str) {
    let End::FellBack { reason } = &explained.end else { panic!("{:?}", explained.end) };
    assert!(reason.contains(why), "{reason}");
    assert_eq!(explained.tutorial.provider, "builtin");
    assert!(explained.tutorial.problems.iter().any(|problem| problem.contains(why)));
    assert_eq!(explained.tutorial.coverage.unexplained, []);
    assert!(explained.end.is_worth_retrying());
}

#[tokio::test]
async fn a_streamed_answer_is_put_together_in_both_protocols() {
    let (explained, server) =
        play(ProviderKind::Openai, vec![Deed::StreamOpenAi(good_answer())], &options()).await;
    is_whole(&explained);
    assert_eq!(
        (explained.tutorial.provider.as_str(), explained.tutorial.model.as_deref()),
        ("openai", Some("a-model"))
    );
    assert_eq!(explained.usage.unwrap().output_tokens, 200);
    let received = &server.received()[0];
    assert!(received.head.starts_with("post /chat/completions "));
    assert_eq!(received.body["messages"][0]["role"], "system");
    assert_eq!(received.body["model"], "a-model");
    assert!(received.body.get("tools").is_none());

    let script = vec![Deed::StreamAnthropic(good_answer())];
    let (explained, server) = play(ProviderKind::Anthropic, script, &options()).await;
    is_whole(&explained);
    assert_eq!(explained.usage.unwrap().input_tokens, 1000);
    let received = &server.received()[0];
    assert!(received.head.starts_with("post /v1/messages "));
    assert!(received.head.contains("anthropic-version: 2023-06-01"));
    assert!(received.body.get("tools").is_none());
    let content = received.body["messages"][0]["content"].as_str().unwrap();
    assert!(content.contains("pub fn state_root()") && content.contains(">>>"));
    assert!(!received.body["system"].as_str().unwrap().contains("state_root"));
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    for (kind, deed) in [
        (ProviderKind::Openai, Deed::WholeOpenAi(good_answer())),
        (ProviderKind::Anthropic, Deed::WholeAnthropic(good_answer())),
    ] {
        let (explained, _) = play(kind, vec![deed], &options()).await;
        is_whole(&explained);
    }
}

#[tokio::test]
async fn prices_make_a_cost() {
    let server = ModelServer::start(vec![Deed::StreamOpenAi(good_answer())]);
    let settings = ProviderSettings {
        input_usd_per_million: Some(3.0),
        output_usd_per_million: Some(10.0),
        ..settings(&server, ProviderKind::Openai)
    };
    let explained = explain(&change(), &Provider::new(&settings).unwrap(), &options()).await;
    let cost = explained.usage.unwrap().cost_usd.unwrap();
    assert!((cost - 0.005).abs() < 1e-9, "{cost}");
}

#[tokio::test]
async fn a_busy_server_is_asked_again_after_the_time_that_it_names() {
    let busy = Deed::Status(429, "retry-after: 1\r\n", r#"{"error": {"message": "slow down"}}"#.to_owned());
    let started_at = Instant::now();
    let (explained, server) =
        play(ProviderKind::Anthropic, vec![busy, Deed::StreamAnthropic(good_answer())], &options()).await;
    is_whole(&explained);
    assert!(started_at.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.received().len(), 2);
    assert_eq!(explained.calls[0].failure.as_deref(), Some("the server answered 429: slow down"));
    assert_eq!(explained.calls[1].failure, None);
}

#[tokio::test]
async fn a_server_that_asks_to_wait_beyond_the_deadline_is_not_waited_for() {
    let busy = Deed::Status(429, "retry-after: 3600\r\n", String::new());
    let started_at = Instant::now();
    let (explained, server) = play(ProviderKind::Openai, vec![busy], &options()).await;
    fell_back(&explained, "the server answered 429");
    assert_eq!(server.received().len(), 1);
    assert!(started_at.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_broken_server_is_asked_a_bounded_number_of_times() {
    for code in [500, 503, 529] {
        let (explained, server) =
            play(ProviderKind::Anthropic, vec![Deed::Status(code, "", "oops".to_owned())], &options()).await;
        fell_back(&explained, &format!("the server answered {code}: oops"));
        assert_eq!(server.received().len(), 3);
    }
}

#[tokio::test]
async fn a_refusal_is_final() {
    let refusal = Deed::Status(401, "", r#"{"error": {"message": "no such key"}}"#.to_owned());
    let (explained, server) = play(ProviderKind::Openai, vec![refusal], &options()).await;
    fell_back(&explained, "the server answered 401: no such key");
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn the_key_goes_to_the_server_and_into_no_message() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("key");
    std::fs::write(&file, "secret-key-1\n").unwrap();
    let body = r#"{"error": {"message": "wrong key secret-key-1"}}"#.to_owned();
    for (kind, header) in [
        (ProviderKind::Openai, "authorization: bearer secret-key-1"),
        (ProviderKind::Anthropic, "x-api-key: secret-key-1"),
    ] {
        let server = ModelServer::start(vec![Deed::Status(403, "", body.clone())]);
        let settings = ProviderSettings { key_file: Some(file.clone()), ..settings(&server, kind) };
        let provider = Provider::new(&settings).unwrap();
        let explained = explain(&change(), &provider, &options()).await;
        assert!(server.received()[0].head.contains(header));
        fell_back(&explained, "wrong key …");
        assert!(!serde_json::to_string(&explained).unwrap().contains("secret-key-1"));
        assert!(!format!("{provider:?}").contains("secret-key-1"));
    }
}

#[tokio::test]
async fn a_missing_key_file_is_said_without_asking() {
    let server = ModelServer::start(vec![Deed::StreamOpenAi(good_answer())]);
    let settings = ProviderSettings {
        key_file: Some("/nonexistent/key".into()),
        ..settings(&server, ProviderKind::Openai)
    };
    let explained = explain(&change(), &Provider::new(&settings).unwrap(), &options()).await;
    fell_back(&explained, "the key file could not be read");
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = ModelServer::start(vec![Deed::StreamOpenAi(good_answer())]);
    let location: &'static str = format!("location: {}/\r\n", target.url()).leak();
    let (explained, _) =
        play(ProviderKind::Openai, vec![Deed::Status(307, location, String::new())], &options()).await;
    fell_back(&explained, "the server answered 307");
    assert!(target.received().is_empty());
}

#[tokio::test]
async fn an_answer_that_stalls_is_asked_for_again() {
    let script = vec![Deed::Silence, Deed::Stall("{\"exec".to_owned()), Deed::StreamAnthropic(good_answer())];
    let (explained, server) = play(ProviderKind::Anthropic, script, &options()).await;
    is_whole(&explained);
    assert_eq!(server.received().len(), 3);
    assert_eq!(explained.calls[0].failure.as_deref(), Some("the answer stalled for 1 s"));
}

#[tokio::test]
async fn of_an_answer_that_is_cut_again_and_again_the_complete_steps_are_kept() {
    let whole = good_answer();
    let cut = whole[..whole.len() - 20].to_owned();
    for deed in [Deed::Cut(cut.clone()), Deed::FailWithin(cut.clone())] {
        let (explained, server) = play(ProviderKind::Anthropic, vec![deed], &options()).await;
        assert!(matches!(explained.end, End::Partial { .. }), "{:?}", explained.end);
        assert_eq!(explained.tutorial.count(StepState::Verified), 2);
        assert_eq!(explained.tutorial.coverage.unexplained.len(), 1);
        assert_eq!(explained.tutorial.provider, "anthropic");
        assert_eq!(server.received().len(), 3);
    }
}

#[tokio::test]
async fn an_answer_at_its_limit_keeps_its_complete_steps_without_another_try() {
    let whole = good_answer();
    let script = vec![Deed::StreamCutAtLimit(whole[..whole.len() - 20].to_owned())];
    let (explained, server) = play(ProviderKind::Anthropic, script, &options()).await;
    assert_eq!(explained.tutorial.count(StepState::Verified), 2);
    assert_eq!(server.received().len(), 1);
    assert!(
        explained.tutorial.problems.iter().any(|problem| problem.contains("its 2 complete steps were kept"))
    );
}

#[tokio::test]
async fn the_deadline_holds_for_everything_together() {
    let options = ExplainOptions { deadline: Duration::from_millis(1500), ..options() };
    let started_at = Instant::now();
    let (explained, _) = play(ProviderKind::Anthropic, vec![Deed::Silence], &options).await;
    fell_back(&explained, "");
    assert!(started_at.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn an_answer_with_faults_is_mended_once_and_no_good_step_is_lost() {
    let ids = ids();
    let first = answer(&[step("Good", &ids[0]), step("Invented", "h00000000"), step("Also good", &ids[2])]);
    // The second answer mends one step and forgets another.
    let second = answer(&[step("Good", &ids[0]), step("Mended", &ids[1])]);
    let script = vec![Deed::StreamOpenAi(first), Deed::StreamOpenAi(second)];
    let (explained, server) = play(ProviderKind::Openai, script, &options()).await;
    is_whole(&explained);
    let titles: Vec<&str> = explained.tutorial.steps.iter().map(|step| step.title.as_str()).collect();
    let mut sorted = titles.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["Also good", "Good", "Mended"]);
    let received = server.received();
    assert_eq!(received.len(), 2);
    let content = received[1].body["messages"][1]["content"].as_str().unwrap();
    assert!(content.contains("h00000000") && content.contains("which does not exist"));
    assert_eq!(explained.calls[1].purpose, Purpose::Repair);
}

#[tokio::test]
async fn a_mending_that_fails_costs_nothing() {
    let ids = ids();
    let first = answer(&[step("Good", &ids[0]), step("Invented", "h00000000")]);
    for second in [Deed::Status(400, "", String::new()), Deed::StreamOpenAi("I am sorry.".to_owned())] {
        let (explained, _) =
            play(ProviderKind::Openai, vec![Deed::StreamOpenAi(first.clone()), second], &options()).await;
        assert_eq!(explained.end, End::Written);
        assert_eq!(explained.tutorial.count(StepState::Verified), 1);
        assert_eq!(explained.tutorial.count(StepState::Unsupported), 1);
        assert_eq!(explained.inventions, 1);
    }
}

#[tokio::test]
async fn prose_instead_of_a_tutorial_falls_back() {
    let (explained, server) =
        play(ProviderKind::Openai, vec![Deed::StreamOpenAi("LGTM, ship it!".to_owned())], &options()).await;
    fell_back(&explained, "the answer holds no tutorial");
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn a_large_change_is_explained_in_parts_and_joined() {
    let ids = ids();
    // Each file is a part of its own.
    let options = ExplainOptions { limits: PlanLimits { text_bytes_max: 120, parts_max: 4 }, ..options() };
    let script = vec![
        Deed::StreamOpenAi(answer(&[step("One", &ids[0]), step("Two", &ids[1])])),
        Deed::StreamOpenAi(answer(&[step("Three", &ids[2])])),
        // The one who joins forgets the last part.
        Deed::StreamOpenAi(answer(&[step("Both", &ids[0]), step("Two", &ids[1])])),
    ];
    let (explained, server) = play(ProviderKind::Openai, script, &options).await;
    is_whole(&explained);
    let purposes: Vec<Purpose> = explained.calls.iter().map(|call| call.purpose).collect();
    assert_eq!(purposes, [Purpose::Part, Purpose::Part, Purpose::Join]);
    assert_eq!(server.received().len(), 3);

    // A part that can't be had leaves the others, and says so.
    let script = vec![
        Deed::StreamOpenAi(answer(&[step("One", &ids[0]), step("Two", &ids[1])])),
        Deed::Status(400, "", "too much".to_owned()),
    ];
    let (explained, _) = play(ProviderKind::Openai, script, &options).await;
    assert!(matches!(&explained.end, End::Partial { reason } if reason.contains("too much")));
    assert_eq!(explained.tutorial.count(StepState::Verified), 2);
    assert_eq!(explained.tutorial.coverage.unexplained.len(), 1);
}

#[tokio::test]
async fn settings_that_make_no_writer_are_refused() {
    let server = ModelServer::start(vec![Deed::Silence]);
    let good = settings(&server, ProviderKind::Openai);
    for wrong in [
        ProviderSettings { model: None, ..good.clone() },
        ProviderSettings { base_url: Some("ftp://models".to_owned()), ..good.clone() },
        ProviderSettings { base_url: Some("models".to_owned()), ..good.clone() },
        ProviderSettings { provider: ProviderKind::Command, ..good.clone() },
    ] {
        assert!(Provider::new(&wrong).is_err(), "{wrong:?}");
    }
    assert!("gpt".parse::<ProviderKind>().is_err());
    let known: Vec<ProviderKind> =
        ProviderKind::ALL.iter().map(|kind| kind.as_str().parse().unwrap()).collect();
    assert_eq!(known, ProviderKind::ALL);
}
