//! What a cluster promises, on Apache Kafka itself: the same scenarios that run on the model.

use futures::FutureExt;
use rdkafka::{ClientConfig, admin::AdminClient, client::DefaultClientContext};
use std::{collections::BTreeMap, sync::Arc};
use weir_engine::env::Env;
use weir_kafka::Connection;
use weir_kafka_model::{
    conformance::{self, Rig},
    conformance_scenarios,
};
use weir_test_support::kafka_server::KafkaServer;

/// A rig on the broker of this process; none: there is no Kafka here.
fn rig() -> Option<Rig> {
    let server = KafkaServer::shared().unwrap()?;
    let connection = Connection { brokers: server.brokers(), properties: BTreeMap::new() };
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", server.brokers()).create().unwrap();
    let admin = Arc::new(admin);
    let delete = move |topic: String| {
        let admin = admin.clone();
        async move {
            for deleted in admin.delete_topics(&[&topic], &Default::default()).await.unwrap() {
                deleted.unwrap();
            }
        }
        .boxed()
    };
    let cluster = weir_kafka::connect(&connection).unwrap();
    Some(Rig { cluster, env: Env::from_entropy(), delete: Arc::new(delete) })
}

macro_rules! on_kafka {
    ($($scenario:ident,)*) => {
        $(
            #[tokio::test]
            async fn $scenario() {
                if let Some(rig) = rig() {
                    conformance::$scenario(&rig).await;
                }
            }
        )*
    };
}

conformance_scenarios!(on_kafka);
