// Package placement decides where a session runs: [Decide] is a pure function of a snapshot of the clusters and a request.
//
// The way of a request: filters exclude clusters, each with the rule and the values that it compared; the others are scored
// term by term; the highest score wins; equal scores are spread by a hash of session and cluster. The decision names every
// cluster with its reasons.
//
// Invariants:
//
//  1. Equal inputs give equal decisions, whatever the order of the clusters.
//  2. The chosen cluster passes every filter.
//  3. Every cluster of the snapshot appears in the decision exactly once: excluded with a reason, or scored.
//  4. Scores are integers; a candidate's score is the sum of its terms.
//  5. A snapshot is shared and never changed.
//
// The package imports api only, never net, os, log, a clock or randomness. It has no goroutines.
package placement
