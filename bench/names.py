"""Names for a province: departments, places and people, in Chinese with their English or their sound. Tables only."""

from __future__ import annotations

from authz.province import Line

#: Vertical lines beside the two of the demonstration.
LINES = (
    Line("fagai", "发改", "Development and Reform"),
    Line("jiaoyu", "教育", "Education"),
    Line("keji", "科技", "Science and Technology"),
    Line("gongxin", "工信", "Industry and Information"),
    Line("minzu", "民族宗教", "Ethnic and Religious Affairs"),
    Line("minzheng", "民政", "Civil Affairs"),
    Line("sifa", "司法", "Justice"),
    Line("caizheng", "财政", "Finance"),
    Line("ziran", "自然资源", "Natural Resources"),
    Line("shengtai", "生态环境", "Ecology and Environment"),
    Line("zhujian", "住建", "Housing and Construction"),
    Line("jiaotong", "交通运输", "Transport"),
    Line("shuili", "水利", "Water Resources"),
    Line("nongye", "农业农村", "Agriculture"),
    Line("shangwu", "商务", "Commerce"),
    Line("wenlv", "文旅", "Culture and Tourism"),
    Line("weijian", "卫健", "Health"),
    Line("tuiyi", "退役军人", "Veterans Affairs"),
    Line("yingji", "应急", "Emergency Management"),
    Line("shenji", "审计", "Audit"),
    Line("waishi", "外事", "Foreign Affairs"),
    Line("guozi", "国资", "State Assets"),
    Line("shichang", "市场监管", "Market Regulation"),
    Line("guangdian", "广电", "Radio and Television"),
    Line("tiyu", "体育", "Sports"),
    Line("tongji", "统计", "Statistics"),
    Line("yibao", "医保", "Health Insurance"),
    Line("xinfang", "信访", "Petitions"),
    Line("liangshi", "粮食", "Grain Reserves"),
    Line("nengyuan", "能源", "Energy"),
    Line("linye", "林业", "Forestry"),
    Line("yaojian", "药监", "Medical Products"),
    Line("zhishi", "知识产权", "Intellectual Property"),
    Line("jinrong", "金融", "Financial Supervision"),
    Line("shuju", "数据", "Data"),
    Line("jiguan", "机关事务", "Government Offices"),
    Line("renfang", "人防", "Civil Air Defence"),
    Line("dizhen", "地震", "Earthquake"),
    Line("qixiang", "气象", "Meteorological"),
    Line("yancao", "烟草", "Tobacco"),
    Line("youzheng", "邮政", "Postal"),
    Line("haiguan", "海关", "Customs"),
    Line("shuiwu", "税务", "Taxation"),
    Line("tongxin", "通信", "Communications"),
    Line("dangan", "档案", "Archives"),
    Line("xumu", "畜牧", "Animal Husbandry"),
    Line("gongjijin", "公积金", "Housing Fund"),
    Line("zhenxing", "乡村振兴", "Rural Development"),
)


def _sounds(text: str) -> dict[str, str]:
    """`安an 宝bao` by character."""
    return {word[0]: word[1:] for word in text.split()}


#: First and second characters of places.
FIRST = _sounds(
    "安an 宝bao 北bei 长chang 春chun 大da 东dong 丰feng 高gao 广guang 海hai 和he 红hong 华hua 黄huang 吉ji 金jin 九jiu 康kang 兰lan"
    " 乐le 龙long 明ming 南nan 宁ning 平ping 青qing 泉quan 瑞rui 三san 双shuang 泰tai 天tian 文wen 西xi 新xin 兴xing 秀xiu 永yong 玉yu"
)
SECOND = _sounds(
    "昌chang 城cheng 池chi 川chuan 岛dao 堤di 峰feng 冈gang 沟gou 谷gu 关guan 桂gui 湖hu 江jiang 口kou 林lin 陵ling 柳liu 楼lou 梅mei"
    " 门men 坪ping 坡po 浦pu 潭tan 塘tang 田tian 亭ting 湾wan 溪xi 堰yan 阳yang 原yuan 寨zhai 洲zhou 竹zhu 庄zhuang"
)
SURNAMES = _sounds(
    "王wang 李li 张zhang 刘liu 陈chen 杨yang 黄huang 赵zhao 吴wu 周zhou 徐xu 孙sun 马ma 朱zhu 胡hu 郭guo 何he 林lin 罗luo 高gao"
    " 梁liang 郑zheng 谢xie 宋song 唐tang"
)
GIVEN = _sounds(
    "伟wei 芳fang 娜na 敏min 静jing 丽li 强qiang 磊lei 军jun 洋yang 勇yong 艳yan 杰jie 涛tao 明ming 超chao 秀xiu 霞xia 平ping 刚gang"
    " 桂gui 英ying 华hua 建jian 文wen 辉hui 玲ling 红hong 宁ning 雪xue 晨chen 博bo"
)
