//go:build ignore

// Verifies a log in the layout of C2SP tlog-tiles with Go's own golang.org/x/mod/sumdb/{tlog,note}. See README.md.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "refused:", err)
		os.Exit(1)
	}
}

// tiles reads tiles from a folder; tlog.TileHashReader verifies them.
type tiles string

func (dir tiles) Height() int                         { return height }
func (dir tiles) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (dir tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		data, err := os.ReadFile(filepath.Join(string(dir), path(tile, fmt.Sprint(tile.L))))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func path(tile tlog.Tile, kind string) string {
	tile.H = height
	prefix := fmt.Sprintf("tile/%d/%d/", height, tile.L)
	return "tile/" + kind + "/" + strings.TrimPrefix(tile.Path(), prefix)
}

func main() {
	dir, vkey := os.Args[1], os.Args[2]
	verifier, err := note.NewVerifier(vkey)
	check(err)
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	check(err)
	opened, err := note.Open(signed, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	var tree tlog.Tree
	_, err = fmt.Sscan(lines[1], &tree.N)
	check(err)
	tree.Hash, err = tlog.ParseHash(lines[2])
	check(err)
	reader := tlog.TileHashReader(tree, tiles(dir))
	for start := int64(0); start < tree.N; start += 1 << height {
		width := tree.N - start
		if width > 1<<height {
			width = 1 << height
		}
		tile := tlog.Tile{H: height, L: 0, N: start >> height, W: int(width)}
		bundle, err := os.ReadFile(filepath.Join(dir, path(tile, "entries")))
		check(err)
		var indexes []int64
		for i := start; i < start+width; i++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, i))
		}
		hashes, err := reader.ReadHashes(indexes)
		check(err)
		rest := bytes.NewReader(bundle)
		for i, hash := range hashes {
			var size uint16
			check(binary.Read(rest, binary.BigEndian, &size))
			entry := make([]byte, size)
			_, err = rest.Read(entry)
			if tlog.RecordHash(entry) != hash {
				check(fmt.Errorf("entry %d is not the one in the tree", start+int64(i)))
			}
		}
	}
	fmt.Printf("verified: %d entries of %s\n", tree.N, verifier.Name())
}
