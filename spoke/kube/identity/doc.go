// Package identity tells whether who bears a token is the harness of a workload: it checks projected service account tokens of
// pods against the keys that the API server publishes, without a right in the cluster that not every service account has.
//
// The way of a token: the kubelet gets it for one pod and one audience, the harness sends it with each call, and [Verifier.Verify]
// reads it (token.go), finds its key among the published ones (keys.go asks, keyset.go reads the answer), checks the signature
// and then each claim against the pod that the spoke's own informer has under the name of the workload. The same name with
// another uid is another pod.
//
// Invariants:
//
//  1. No claim is believed before the signature is. RS256 and ES256 count, each with a key of its own kind, and nothing else;
//     keys come from the API server alone, whatever a token's header says.
//  2. A token fits by all of issuer, audience (this one and no other), time, service account, namespace, name and uid of the pod.
//     Times may differ by a minute, as the API server itself allows.
//  3. Who calls learns one sentence, the same for every reason. The log learns the claim that did not fit. Neither learns the
//     token; refusals are logged some times a minute and counted beyond.
//  4. The API server is asked by one at a time, at most once in ten seconds (once a second as long as it never answered),
//     however many tokens name unknown keys, and only for names of pods that exist. An answer is bounded in size and time.
//  5. Keys that are five minutes old are asked for again. When the API server is away, known keys count for thirty minutes after
//     its last answer, then none does: that is longer than a token lives, which the API server alone renews.
//  6. CodeUnauthenticated says that the token is wrong. CodeUnavailable says that nobody can tell now, and is worth another try. It
//     is the answer where something does not fit and that is no evidence: a key that was not published when the API server was last
//     asked, some seconds ago; a pod that is not known while the informer does not know all; a token that expired while the API
//     server was away, so that no other could be had. None of these is taken for right.
//
// The package never imports a runtime, and never asks the API server to review a token: that would be a right over the whole cluster
// and a round trip for each call. It starts no goroutine but the one of a question under way, which ends within its limit.
package identity
