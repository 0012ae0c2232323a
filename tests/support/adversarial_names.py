"""Names of images that break what is built on names."""

ON_DISK = [
    *("a b.jpg", " ends with blanks .jpg", "a+b.jpg", "a%2Fb.jpg", "a%252Fb.jpg", "a%20b.jpg", "a/b.jpg"),
    *(
        "\u00e9.jpg",
        "e\u0301.jpg",
        "\u732b\U0001f431.jpg",
        "\u202egpj.exe.jpg",
        "\u200b.jpg",
        "\u2028.jpg",
        "\ufeff.jpg",
    ),
    *("tab\t.jpg", "return\r.jpg", "\x01\x07\x1b[31m.jpg", "\x7f.jpg"),
    *("case.jpg", "CASE.jpg", "Case.JPG", "left/twin.jpg", "right/twin.jpg", "..jpg", "...jpg", ".hidden.jpg"),
    *("<b>&amp;'\".jpg", "<script>alert(1)<\\script>.jpg", '"quoted".jpg', "comma,semi;colon.jpg", "=1+1.jpg"),
    *("#hash?query=1&x.jpg", "[x]*{a,b}!.jpg", "back\\slash.jpg", "~/home.jpg", "$HOME ${x} `x`.jpg", "-rf.jpg"),
    *("s3:/other/x.jpg", "C:\\x.jpg", "user:password@host.jpg", "null.jpg", "uri.jpg", "{}.jpg", "%s%n.jpg"),
    *("/".join(["long" * 60] * 3) + ".jpg", "n" * 251 + ".jpg"),
]
NO_KEYS = ["new\nline.jpg"]  # that the S3 server of the tests takes
NO_PATHS = [
    *(
        "../up.jpg",
        "x/../y.jpg",
        "./dot.jpg",
        "x/./y.jpg",
        "../../../etc/passwd.jpg",
        "a//b.jpg",
        "/first.jpg",
        "//two.jpg",
    ),
    *(
        "s3://other/x.jpg",
        "file:///etc/passwd.jpg",
        "http://user:password@host/x.jpg",
        "n" * (1024 - len("in/.jpg")) + ".jpg",
    ),
]
