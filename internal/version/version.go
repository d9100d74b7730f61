package version

// Version is the output of git describe at build time, or "source". Only the linker sets it.
var Version = "source"
