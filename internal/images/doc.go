// Package images makes container images of Nave's programs, without a container engine: nothing is in them but static
// programs and the certificates of public authorities.
//
// The way of an image: [Program.Build] has the go command build each program for an architecture; [Image.Pack] makes of them,
// of the authorities and of a [Stamp] one image; [BillOf] reads from the programs' own build information what they consist of;
// [Make] does this for every image and architecture, and leaves in its folder, for each image,
//
//   - NAME: an OCI layout with one index of all architectures, and for each a bill of materials (SPDX 2.3, JSON) that refers
//     to it,
//   - NAME-ARCH.tar: the same image of one architecture, as `ctr images import` and `docker load` take it,
//   - NAME-ARCH.spdx.json: the bill of materials.
//
// Invariants:
//
//  1. The same sources, Go version, authorities and stamp make the same digests, in whatever folder and whenever.
//  2. A program that is not static, or of another architecture, is refused.
//  3. An image runs as [User], has no shell, no package manager and no /tmp: what needs one mounts it.
//  4. The bill says what the program itself says, never what go.mod asks for.
//
// It must not import the programs. It starts no goroutine; the go command runs as a child that is waited for.
package images
