// Package testcluster makes real Kubernetes clusters on one machine, for tests of whole federations: no registry, no container
// engine, no image is downloaded.
//
// The way of a run: [Programs] builds everything from the sources that the Go module proxy serves, and keeps it in the user's
// cache directory; [Start] sweeps what dead beds left, takes a run id, and brings up one cluster per cloud: a network namespace
// with an etcd, an API server, a controller manager, a scheduler, containerd, a kubelet, kube-proxy and DNS; a bridge on the
// host joins the clouds, and a hub that listens on [Bed.HubAddress] is reached by every pod. A test then does to a [Cluster]
// what the world does: [Cluster.Cut], [Cluster.KillKubelet], [Cluster.RestartNode], [Cluster.Drain], [Cluster.Freeze], …; [Bed.Stop] removes
// everything. It has two small siblings on loopback, without root: [StartControlPlane] is an etcd and an API server, for what needs no
// pods; [StartFleet] adds controllers and kwok, for thousands of pods that nobody runs and that meet the [Fate] of their annotations.
//
// Invariants:
//
//  1. A run id is in every name: folder, namespaces, links, control groups, and the environment of every process. [Left] finds
//     by it whatever exists, and after Stop there is nothing.
//  2. A bed has an owner, who holds the lock in its folder. What carries the id of a bed without an owner is removed by the
//     next Start, what carries the id of a living one is touched by nobody else.
//  3. Every process is a child of the bed's keeper and ends with it; the keeper ends with its owner.
//  4. Nothing is removed through a mount: a folder is only deleted when nothing is mounted below it.
//  5. Cut is a real partition: packets between the cloud and the hub's bridge vanish. The test's own way to the API server is
//     another link, on which nothing routes.
//  6. Only processes of the bed's own are signalled: they carry its label, or are in its control groups.
//  7. Every wait is bounded by the caller's context and by a limit of its own.
//
// The package must not import Nave's programs or be imported by them. Its goroutines are those of its keeper's client, which
// end with Stop.
package testcluster
