"""WAT files: which links are image-text pairs, and where they point."""

import json
from pathlib import Path
from typing import Any

import pytest
from archive_bytes import pack

from curate.errors import ConfigError, SourceError
from curate.source.kinds import build_source
from curate.source.wat import Wat

PAGE = "https://a.example/blog/2020/post.html"


def metadata(links: list[Any], head: Any = None, page_url: str | None = PAGE) -> bytes:
    html = {"Links": links} | ({} if head is None else {"Head": head})
    envelope: dict[str, Any] = {"Payload-Metadata": {"HTTP-Response-Metadata": {"HTML-Metadata": html}}}
    if page_url:
        envelope["WARC-Header-Metadata"] = {"WARC-Target-URI": page_url}
    return wat_record(json.dumps({"Envelope": envelope}).encode())


def wat_record(body: bytes, kind: str = "metadata") -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {PAGE}\r\nContent-Length: {len(body)}\r\n\r\n"
    return pack(head.encode() + body + b"\r\n\r\n", "gzip")


def img(url: str | None = "x.jpg", alt: str | None = "words", path: str = "IMG@/src", **more: Any) -> dict[str, Any]:
    return {k: v for k, v in {"path": path, "url": url, "alt": alt, **more}.items() if v is not None}


def rows(tmp_path: Path, *records: bytes, **settings: Any) -> list[dict[str, Any]]:
    path = tmp_path / "a.warc.wat.gz"
    path.write_bytes(b"".join(records))
    return [row for part in Wat(str(path), **settings).parts() for batch in part for row in batch.to_pylist()]


def urls(tmp_path: Path, *links: Any, head: Any = None) -> list[str]:
    return [row["url"] for row in rows(tmp_path, metadata(list(links), head))]


def test_an_image_with_words_is_a_pair(tmp_path: Path) -> None:
    expected = {"caption": "words", "url": "https://a.example/blog/2020/x.jpg", "page_url": PAGE, "license": None}
    assert rows(tmp_path, wat_record(b"a: b", "warcinfo"), metadata([img()])) == [expected]


@pytest.mark.parametrize(
    "link",
    [
        img(alt=None),
        img(alt=""),
        img(alt=" \n"),
        img(alt=["words"]),
        img(path="A@/href"),
        img(path="IFRAME@/src"),
        img(url=None),
        img(url="data:image/gif;base64,AAAA"),
        img(url="javascript:void(0)"),
        img(url="ftp://a.example/x.jpg"),
        img(url=5),
        "words",
        None,
    ],
)
def test_what_is_no_pair(tmp_path: Path, link: Any) -> None:
    assert urls(tmp_path, link) == []


@pytest.mark.parametrize(
    ("url", "base", "expected"),
    [
        ("x.jpg", None, "https://a.example/blog/2020/x.jpg"),
        ("../x.jpg", None, "https://a.example/blog/x.jpg"),
        ("/x.jpg", None, "https://a.example/x.jpg"),
        ("//b.example/x.jpg", None, "https://b.example/x.jpg"),
        ("x.jpg", "https://b.example/c/", "https://b.example/c/x.jpg"),
        ("x.jpg", "/c/", "https://a.example/c/x.jpg"),
        ("x.jpg", "http://[bad/", "https://a.example/blog/2020/x.jpg"),
        ("http://[bad/x.jpg", None, "http://[bad/x.jpg"),
        (" http://b.example/x y.jpg ", None, "http://b.example/x y.jpg"),
    ],
)
def test_addresses_are_made_absolute(tmp_path: Path, url: str, base: str | None, expected: str) -> None:
    assert urls(tmp_path, img(url), head={"Base": base} if base else None) == [expected]


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (img("blank.gif", **{"data-src": "x.jpg"}), "x.jpg"),
        (img("data:image/gif;base64,A", **{"data-lazy-src": "x.jpg"}), "x.jpg"),
        (img("s.jpg", srcset="m.jpg 640w, l.jpg 1280w, s.jpg 320w"), "l.jpg"),
        (img("s.jpg", srcset="m.jpg 1x, l.jpg 2.5x"), "l.jpg"),
        (img("s.jpg", srcset="only.jpg"), "only.jpg"),
        (img("s.jpg", srcset="a.jpg 2x, b.jpg 2x"), "a.jpg"),
        (img("s.jpg", **{"data-src": "data:image/gif;base64,A"}), "s.jpg"),
        (img("s.jpg", srcset="w_300,h_200/a.jpg 300w,w_600,h_400/a.jpg 600w"), "w_600,h_400/a.jpg"),
        (img("s.jpg", srcset=" "), "s.jpg"),
        (img("s.jpg", srcset="l.jpg 1.2.3w, m.jpg 2w"), "m.jpg"),
        (img("x.jpg", path="IMG@/data-src"), "x.jpg"),
        (img("m.jpg 640w, l.jpg 1280w", path="IMG@/srcset"), "l.jpg"),
        (img("about.html", path="IMG@/longdesc"), None),
    ],
)
def test_the_best_address_of_an_image(tmp_path: Path, link: Any, expected: str | None) -> None:
    assert urls(tmp_path, link) == ([f"https://a.example/blog/2020/{expected}"] if expected else [])


def test_a_pair_is_taken_once_per_page(tmp_path: Path) -> None:
    one = metadata([img(), img(), img(alt="other"), img("y.jpg")])
    assert len(rows(tmp_path, one)) == 3
    assert len(rows(tmp_path, one, one)) == 6


def test_the_picture_of_a_page_if_asked_for(tmp_path: Path) -> None:
    metas = [
        {"property": "og:image", "content": "/og.jpg"},
        {"property": "og:image", "content": "/second.jpg"},
        {"property": "og:title", "content": "The title"},
    ]
    record = metadata([img()], {"Metas": metas})
    assert [r["caption"] for r in rows(tmp_path, record)] == ["words"]
    found = rows(tmp_path, record, og_image=True)
    assert [(r["caption"], r["url"]) for r in found[1:]] == [("The title", "https://a.example/og.jpg")]
    better = metadata([], {"Metas": [*metas, {"name": "og:image:alt", "content": "A lake"}]})
    assert [r["caption"] for r in rows(tmp_path, better, og_image=True)] == ["A lake"]
    assert rows(tmp_path, metadata([], {"Metas": [metas[0]]}), og_image=True) == []


@pytest.mark.parametrize(
    ("links", "head", "expected"),
    [
        (["https://creativecommons.org/licenses/by/4.0/"], [], "https://creativecommons.org/licenses/by/4.0/"),
        ([], ["http://creativecommons.org/publicdomain/zero/1.0"], "http://creativecommons.org/publicdomain/zero/1.0"),
        (["https://creativecommons.org/about", "https://example.org/licenses/by"], [], None),
    ],
)
def test_the_licence_of_a_page(tmp_path: Path, links: list[str], head: list[str], expected: str | None) -> None:
    all_links = [img(), *({"path": "A@/href", "url": url} for url in links)]
    found = rows(tmp_path, metadata(all_links, {"Link": [{"path": "LINK@/href", "url": url} for url in head]}))
    assert [r["license"] for r in found] == [expected]


@pytest.mark.parametrize(
    "body", [b"{", b"", b"[1]", b"null", b'"text"', b"\xff\xfe", b"[" * 200_000, b'{"Envelope": ' + b"9" * 5000 + b"}"]
)
def test_a_record_that_is_no_json_is_one_row_without_address(tmp_path: Path, body: bytes) -> None:
    found = rows(tmp_path, metadata([img()]), wat_record(body), metadata([img("y.jpg")]))
    assert [r["url"] and r["url"][-5:] for r in found] == ["x.jpg", None, "y.jpg"]
    assert found[1]["page_url"] == PAGE


@pytest.mark.parametrize(
    "content",
    [{}, {"Envelope": 5}, {"Envelope": {"Payload-Metadata": []}}, {"Envelope": {"WARC-Header-Metadata": None}}],
)
def test_a_record_without_links_has_no_rows(tmp_path: Path, content: Any) -> None:
    assert rows(tmp_path, wat_record(json.dumps(content).encode())) == []


def test_a_page_without_an_address(tmp_path: Path) -> None:
    found = rows(tmp_path, metadata([img("http://b/x.jpg"), img()], page_url=None))
    assert [(r["url"], r["page_url"]) for r in found] == [("http://b/x.jpg", None)]


def test_half_a_letter_in_a_caption(tmp_path: Path) -> None:
    assert rows(tmp_path, metadata([img(alt="a \ud800 b")]))[0]["caption"] == "a ? b"


def test_damage_is_a_row_and_the_rest_is_read(tmp_path: Path) -> None:
    found = rows(tmp_path, metadata([img()]), b"garbage", metadata([img("y.jpg")]))
    assert [r["url"] and r["url"][-5:] for r in found] == ["x.jpg", None, "y.jpg"]


def test_many_pairs_come_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "a.wat"
    path.write_bytes(b"".join(metadata([img(f"{n}-{i}.jpg") for i in range(600)]) for n in range(40)))
    sizes = [batch.num_rows for part in Wat(str(path)).parts() for batch in part]
    assert sizes == [10_000, 10_000, 4000]


def test_one_stream_per_file_and_a_file_that_is_gone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.warc.wat.gz").write_bytes(metadata([img(f"{name}.jpg")]))
    assert [[b.num_rows for b in part] for part in Wat(str(tmp_path)).parts()] == [[1], [1]]
    (tmp_path / "wat.paths").write_text("gone.warc.wat.gz\n")
    with pytest.raises(SourceError, match=r"gone.warc.wat.gz: there is no such file"):
        list(next(Wat(paths_file=str(tmp_path / "wat.paths"), prefix=str(tmp_path)).parts()))
    with pytest.raises(ConfigError, match="either path or paths_file"):
        build_source({"kind": "wat"})
