"""Stock phrases, dates, file names and addresses, and captions that merely hold them."""

import time

import pytest

from filters.caption_blocklist import CaptionBlocklist

BOILERPLATE = """
image | Image 12 | IMG | [Photo] | picture #3 | logo | Company logo | Profile photo | user avatar | image 3 of 7
No image available | image not found | Photo coming soon | no photo | Untitled | placeholder | Default image | spacer
Click to enlarge | Click here | click for larger image | View larger image | Read more | Share on Facebook
Follow us on Twitter | Download | Add to cart | Search | Advertisement | All rights reserved. | null | alt text
2019-04-03 | 03/04/2019 14:30 | May 4, 2011 | 4th of May | 12. December 2004 | Posted on March 3, 2014 | Dec 31
Monday, 5 June 2017 | 1984 | 12345 | Image result for red dress | Image may contain: 2 people | Image for Oak table
Photo gallery thumbnail | Default avatar | Skip to main content | Image may be subject to copyright | Photos
logo image
"""
FILE_NAME = """
IMG_1234.jpg | DSC00361 | dsc_0042 | DSCN1234.JPG | photo.jpeg | my holiday in Rome.png | 20190403_121314.jpg
PXL_20210101_120000 | Screenshot 2020-01-01 | image001 | caesar_salad | baked-pasta-with-broccoli | a.webp?w=300
548c06b07fa745ec8bbfcf01beee89e0 | File:Alice Liddell.jpg | scan0003 | 166e8921-ebed1e23
"""
ADDRESS = """
http://example.com/a.png | https://example.org | www.example.net/shop | example.com | shop.example.co.uk | "example.de"
"""
FINE = """
a dog in the garden | Eiffel Tower, 4 May 2011 | The logo of a bakery | Photo of a cat on a sofa | T-shirt
Download festival crowd at night | No smoking sign | Image of Buddha | Ad Reinhardt painting | mother-in-law
1969 Ford Mustang | Search dog in the snow | Close up of a bee | The menu of a café in Paris | Share a Coke bottle
日本の猫 | 2011 日本 | 写真 logo 会社 | Логотип компании, 2019 | фото | Blank canvas on an easel | May flowers
Marching band at www.example.com event | a picture frame | Three icons of saints | Null Island buoy | Home sweet home
Back to the future | Photo gallery of a museum | a copyright lawyer | Icon painting of Saint George
"""


def split(text: str) -> list[str]:
    return [c.strip() for line in text.strip().splitlines() for c in line.split(" | ")]


@pytest.mark.parametrize(
    ("captions", "reason"),
    [
        (BOILERPLATE, "caption_is_boilerplate"),
        (FILE_NAME, "caption_is_file_name"),
        (ADDRESS, "caption_is_url"),
        (FINE, None),
    ],
)
def test_captions(reasons, captions, reason):
    captions = split(captions)
    found = dict(zip(captions, reasons(CaptionBlocklist(), caption=captions), strict=True))
    assert {c: r for c, r in found.items() if r != reason} == {}


def test_a_missing_caption_is_left_to_others(reasons):
    assert reasons(CaptionBlocklist(), caption=["", " ", None]) == [None, None, None]


def test_own_phrases_are_compared_whole(reasons):
    rule = CaptionBlocklist(phrases=("Bild folgt", "日本の猫"))
    captions = ["bild FOLGT ", "Bild folgt dem Text", "日本の猫", None]
    assert reasons(rule, caption=captions) == ["caption_is_boilerplate", None, "caption_is_boilerplate", None]


def test_hostile_captions_take_linear_time(reasons):
    short, long = (
        [c * n for c in ("a-", "a_", "1 ", "image ", "(", "http://", "a.", "may ", "click ")] for n in (3_000, 30_000)
    )
    seconds = []
    for captions in (short, long):
        started = time.process_time()
        reasons(CaptionBlocklist(), caption=captions * 3)
        seconds.append(time.process_time() - started)
    assert seconds[1] < 40 * max(seconds[0], 0.01)
