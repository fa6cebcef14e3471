//! The query service: how often an ad was clicked, and which ads were clicked most, read from the store that the SQL sink
//! fills.
