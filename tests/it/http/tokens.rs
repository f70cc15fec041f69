//! Samples token by token: CSV from the server, Parquet from the command line.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;
use serde_json::json;
use vgpo::domain::sample::{SampleGroup, SampleResponse, SampleShares};

use super::support::Api;

fn group(row: u64, eval: bool) -> SampleGroup {
    let response = |text: &str, shares: bool| SampleResponse {
        text: text.to_owned(),
        tokens: vec!["a,\n".to_owned(), format!("\"{text}\"")],
        logprobs: if eval { Vec::new() } else { vec![-0.5, -0.25] },
        focus: shares.then(|| vec![0.75, 0.5]),
        attention: shares.then(|| SampleShares {
            image: vec![0.5, 0.25],
            query: vec![0.25, 0.25],
            generated: vec![0.25, 0.5],
        }),
        psi: vec![0.125, -0.125],
        shaped_advantage: vec![1.5, 0.5],
        phi: 0.0625,
        advantage: 1.0,
        reward: 0.5,
        reward_parts: Default::default(),
        correct: shares.then_some(true),
        cut_off: false,
    };
    SampleGroup {
        row,
        eval,
        prompt: String::new(),
        answer: "7".to_owned(),
        images: Vec::new(),
        responses: vec![response("one", true), response("two", false)],
    }
}

async fn vgpo(api: &Api, arguments: &[&str]) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vgpo"));
    command.args(["runs", "samples"]).args(arguments).env("VGPO_SERVER", &api.url);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_token_has_a_line_with_every_number() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let run = job["run_id"].as_str().unwrap();
    let leased = api.claim().await;
    // More than one page of the server.
    let groups: Vec<SampleGroup> = (0..11).map(|row| group(row, false)).collect();
    api.store().append_samples(&leased.token, 1, &groups).await.unwrap();
    api.store().append_samples(&leased.token, 4, &[group(2, true)]).await.unwrap();
    let text = api.request("GET", &format!("/v1/runs/{run}/samples.csv")).send().await.unwrap();
    assert_eq!(text.headers()["content-type"], "text/csv; charset=utf-8");
    let text = text.text().await.unwrap();
    let mut table = csv::Reader::from_reader(text.as_bytes());
    let names: Vec<String> = table.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(names.len(), 19);
    assert_eq!(names[5..9], ["token", "text", "logprob", "focus"]);
    let rows: Vec<Vec<String>> = table.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    assert_eq!(rows.len(), 12 * 2 * 2, "samples, responses, tokens; one head");
    let told = |row: usize| rows[row][1..].join("|");
    assert_eq!(
        told(1),
        "1|0|false|0|1|\"one\"|-0.25|0.5|0.25|0.25|0.5|-0.125|0.5|0.0625|1|0.5|true|false",
        "the second token of the first response"
    );
    assert_eq!(told(2), "1|0|false|1|0|a,\n|-0.5|||||0.125|1.5|0.0625|1|0.5||false", "nothing of an image");
    assert_eq!(
        told(44),
        "4|2|true|0|0|a,\n||0.75|0.5|0.25|0.25|||||0.5|true|false",
        "a held-out answer has no weights: its zeros were never measured"
    );
    let last = api.request("GET", &format!("/v1/runs/{run}/samples.csv?step=4")).send().await.unwrap();
    assert_eq!(csv::Reader::from_reader(last.text().await.unwrap().as_bytes()).records().count(), 4);
    api.get("/v1/runs/run_none/samples.csv").await.problem(404, "not_found");
    api.get(&format!("/v1/runs/{run}/samples.csv?stp=4")).await.problem(400, "invalid_query");

    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    assert_eq!(String::from_utf8(vgpo(&api, &[run]).await.stdout).unwrap(), text);
    let written = vgpo(&api, &[run, "--to", &place("tokens.csv")]).await;
    assert!(written.status.success(), "{written:?}");
    assert_eq!(std::fs::read_to_string(place("tokens.csv")).unwrap(), text);
    let written = vgpo(&api, &[run, "--to", &place("tokens.parquet")]).await;
    assert!(String::from_utf8_lossy(&written.stdout).contains("48 tokens"), "{written:?}");
    same(Path::new(&place("tokens.parquet")), &names, &rows);
    for (name, word) in [("tokens.txt", ".parquet"), ("tokens.csv", "--force")] {
        let refused = vgpo(&api, &[run, "--to", &place(name)]).await;
        assert!(String::from_utf8_lossy(&refused.stderr).contains(word), "{refused:?}");
    }
}

/// The Parquet file holds what the CSV does.
fn same(file: &Path, names: &[String], rows: &[Vec<String>]) {
    let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr();
    assert_eq!(schema.columns().iter().map(|column| column.name()).collect::<Vec<_>>(), names);
    let found: Vec<parquet::record::Row> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(found.len(), rows.len());
    for (row, expected) in found.iter().zip(rows) {
        assert_eq!(row.get_string(0).unwrap(), &expected[0]);
        assert_eq!(row.get_long(1).unwrap().to_string(), expected[1]);
        assert_eq!(row.get_string(6).unwrap(), &expected[6]);
        for number in 7..17 {
            let told = row.get_double(number).map(|value| value.to_string()).unwrap_or_default();
            assert_eq!(told, expected[number], "{}", names[number]);
        }
        assert_eq!(row.get_bool(17).map(|value| value.to_string()).unwrap_or_default(), expected[17]);
    }
}
