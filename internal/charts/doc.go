// Package charts renders the charts of hub and spoke, for the tests that judge them.
//
// The way of a datum: [Cases] names the ways in which the charts are installed, each with a file of values in testdata;
// [Helm.Render] lets the helm program render one, which gives a [Rendered], the manifests and the notes; tests of this
// package compare it with the kept one in testdata/golden and look at its objects, and tests of kind-tests give it to a
// real API server.
//
// Invariants:
//
//  1. A rendering is a function of chart and values: helm is never connected to a cluster, and sees no configuration of
//     the user's.
//  2. What is kept in testdata/golden changes only by -update, and is read as a difference.
//  3. No case holds a real secret.
//
// The package must not be imported by programs of Nave. It starts no goroutine.
package charts
