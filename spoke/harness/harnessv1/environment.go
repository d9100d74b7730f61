package harnessv1

// Variables by which a runtime tells a harness in a pod where its spoke is. All of them are given, or none.
const (
	EnvWorkload  = "NAVE_WORKLOAD"   // id of the workload
	EnvSpoke     = "NAVE_SPOKE"      // host:port of the spoke's door
	EnvAuthority = "NAVE_AUTHORITY"  // certificate of the spoke's own authority, PEM; nobody else is believed
	EnvToken     = "NAVE_TOKEN_FILE" // path of the token that says which pod this is; read anew for each call, because it is renewed
	EnvExit      = "NAVE_EXIT_FILE"  // path where the harness leaves an Exit as JSON, written in place; also when a turn begins
)

// ServerName is whom the certificate of a spoke's door names.
const ServerName = "nave-spoke"

// Audience is whom the token of a harness is for.
const Audience = "nave-spoke"

// Headers of every call of a harness in a pod. They come before anything of the call is decoded: who bears the token is the
// harness of the workload, or the call is refused.
const (
	HeaderToken    = "authorization" // "Bearer " and the token
	HeaderWorkload = "nave-workload" // id of the workload; what a message names must be the same
)
