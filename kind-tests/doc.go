// Package kindtests tests whole federations on real Kubernetes clusters, which package testcluster makes from source.
//
// The way of a test: it starts a bed of clusters, puts pods and programs on them, breaks what it is about, and looks at what the
// API servers, the pods and the hub's side say. When it fails, the logs and objects of every cluster are kept in the folder
// .kind-tests of the repository, one folder per test.
//
// Invariants:
//
//  1. A test removes its bed, and fails when anything of it is left on the machine.
//  2. Waits go by informers and conditions, each with a limit.
//  3. `make test` compiles and vets the tests and does not run them: they have the build tag kindtests and need root. They run
//     by `make kind-tests`.
//
// It may import anything of Nave's. Its goroutines end with the test that started them.
package kindtests
