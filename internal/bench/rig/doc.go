// Package rig is a hub with its overlay and spokes for benchmarks, as a user starts them.
//
// The way of a scenario: [With] starts a hub in the scenario's folder, hands the scenario a [Rig], and ends everything
// afterwards; [Rig.StartSpoke] lets a cluster join, [Rig.Apply] defines an agent of one program, [Rig.Signal]
// sends it signals, and [Rig.GRPC] is for those who send many.
// Who needs no more of a spoke than its link is a [Member], which [Enroll] makes.
//
// Only benchmarks may import it. It must not import the programs' own packages but the API's client and the transport, whose
// log it silences. Its goroutines fetch profiles and end with the call that starts them.
package rig
