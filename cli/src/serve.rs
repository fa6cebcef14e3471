//! `weir serve`: the query service over a store, in a process of its own. It only reads, so there may be many.

use crate::{
    doors::{self, PagesArguments},
    failure::Failure,
    processors, runtime,
    signals::EndSignals,
    text,
    tls::Transport,
};
use clap::Args;
use std::{net::SocketAddr, time::Duration};
use tokio::net::TcpListener;
use weir_engine::{env::Env, hidden::Hidden};
use weir_query::{http, store::Store};

/// Arguments of `weir serve`.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// The store that a job writes: sqlite:PATH or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "URL", env = "WEIR_STORE", hide_env_values = true)]
    store: Hidden<String>,
    /// The counts table, if the store has several [default: ad_counts, or the only one]
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Address of the API and the page
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    listen: String,
    #[command(flatten)]
    port: PagesArguments,
}

/// Serves until it is ended.
pub fn serve(arguments: &ServeArguments) -> Result<(), Failure> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let mut signals = EndSignals::catch()?;
        let mut store = open_store(&arguments.store)?;
        if let Some(table) = &arguments.table {
            store = store.of_table(table);
        }
        let listener = listen(&arguments.listen).await?;
        let address = address(&listener)?;
        let doors::Pages { keys, transport } = arguments.port.read(&address.to_string())?;
        text::print(&addresses(address, &transport))?;
        if doors::is_of_this_machine(&address.to_string()) {
            text::print(&format!("{}; --listen chooses another address\n", doors::OWN_MACHINE))?;
        }
        let env = Env::from_entropy();
        let router = http::router(store, env.clone(), keys);
        let ended = async move { signals.next().await };
        let served = weir_http::serve(transport.pages(listener), router, doors::limits(), env.clone(), ended);
        let served = tokio::select! {
            biased;
            served = served => served,
            () = transport.watch(&env) => Ok(()),
        };
        served.map_err(|error| Failure::failed(format!("cannot serve any more: {error}")))
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    done
}

/// Opens a store for reading; it need not exist yet.
pub fn open_store(url: &str) -> Result<Store, Failure> {
    // More questions at once than that wait for each other on the processors anyway.
    let connections = u32::try_from(processors() * 4).unwrap_or(4);
    Store::open(url, connections).map_err(|error| Failure::refused(format!("--store: {error}")))
}

/// Takes the address of a port.
pub async fn listen(address: &str) -> Result<TcpListener, Failure> {
    if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        return Err(Failure::refused(format!(
            "cannot listen on '{address}': it is no HOST:PORT with a port up to 65535; write it as in 127.0.0.1:8080"
        )));
    }
    TcpListener::bind(address).await.map_err(|error| Failure::failed(format!("cannot listen on {address}: {error}")))
}

/// The address that was taken, with the port that it got.
pub fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::failed(format!("no address to listen on: {error}")))
}

/// Where what is, for people.
pub fn addresses(address: SocketAddr, transport: &Transport) -> String {
    let scheme = transport.scheme();
    format!("page at {scheme}://{address}/, API described at {scheme}://{address}/openapi.json\n")
}
