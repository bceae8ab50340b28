// Package web is the ops UI of the aggregator: real HTML first, made live by one
// event stream, with nothing to build and nothing fetched from elsewhere.
//
// It promises that every number on a page is one that the aggregator holds, that
// a page whose stream is silent says so, that whatever stores and tills call
// themselves is shown as text and never as markup, and that no page changes
// anything unless a person of ours pressed the button on our own origin.
//
// It decides nothing: judging is fleet's, arithmetic is merge's. It reaches them
// through the interface and the functions in Options.
package web
