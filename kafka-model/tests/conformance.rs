//! The model keeps what Apache Kafka keeps: the same scenarios run on both.

use futures::FutureExt;
use std::sync::Arc;
use weir_engine::env::Env;
use weir_kafka_model::{Conditions, Model, conformance::Rig};

/// On a model whose network is fair, and on one that loses requests. (Where answers are lost, a producer without transactions may
/// write twice.)
async fn run(scenario: impl AsyncFn(&Rig)) {
    for (seed, lose_one_in) in [(1, 0), (2, 12)] {
        let model = Model::new(seed);
        model.set(Conditions { lose_one_in, ..Conditions::default() });
        let (cluster, deleting) = (model.cluster(), model.clone());
        let delete = Arc::new(move |topic: String| {
            deleting.delete(&topic);
            async {}.boxed()
        });
        scenario(&Rig { cluster, env: Env::default(), delete }).await;
    }
}

macro_rules! tests {
    ($($scenario:ident),+ $(,)?) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $scenario() {
                run(weir_kafka_model::conformance::$scenario).await;
            }
        )+
    };
}

weir_kafka_model::conformance_scenarios!(tests);
