//! The definitions that are shipped compile, and what they compile to is shown here in full.

use std::path::Path;

use weir_jobs::explain::ExplainFormat;
use weir_jobs::{CompileOptions, Job, load};

fn shipped(name: &str, settings: &[&str]) -> Job {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    let options = CompileOptions { parallelism: Some(2), ..CompileOptions::default() };
    load(&path, &settings, &options).unwrap_or_else(|refusal| panic!("{refusal}"))
}

#[test]
fn ad_click_for_people() {
    let job = shipped("ad_click.toml", &[]);
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    insta::assert_snapshot!(job.explain(ExplainFormat::Text).unwrap());
}

#[test]
fn ad_click_as_mermaid() {
    insta::assert_snapshot!(shipped("ad_click.toml", &[]).explain(ExplainFormat::Mermaid).unwrap());
}

#[test]
fn ad_click_as_json() {
    insta::assert_snapshot!(shipped("ad_click.toml", &[]).explain(ExplainFormat::Json).unwrap());
}

#[test]
fn ad_click_from_kafka_to_kafka_for_people() {
    let job = shipped("ad_click_kafka.toml", &[]);
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    insta::assert_snapshot!(job.explain(ExplainFormat::Text).unwrap());
}

#[test]
fn attribution_for_people() {
    let job = shipped("attribution.toml", &[]);
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    insta::assert_snapshot!(job.explain(ExplainFormat::Text).unwrap());
}

#[test]
fn attribution_from_kafka_to_kafka_for_people() {
    let job = shipped("attribution_kafka.toml", &["sink.store.enabled=true"]);
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    insta::assert_snapshot!(job.explain(ExplainFormat::Text).unwrap());
}

#[test]
fn talkingdata_for_people() {
    let job = shipped("talkingdata.toml", &[]);
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    insta::assert_snapshot!(job.explain(ExplainFormat::Text).unwrap());
}

#[test]
fn ad_events_for_people() {
    let job = shipped("ad_events.toml", &[]);
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    insta::assert_snapshot!(job.explain(ExplainFormat::Text).unwrap());
}

#[test]
fn ad_events_from_kafka_to_kafka_for_people() {
    let job = shipped("ad_events_kafka.toml", &[]);
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    insta::assert_snapshot!(job.explain(ExplainFormat::Text).unwrap());
}

#[test]
fn the_union_of_two_regions_for_people() {
    let job = shipped("union_and_load.toml", &[]);
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    insta::assert_snapshot!(job.explain(ExplainFormat::Text).unwrap());
}
